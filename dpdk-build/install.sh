#!/bin/sh
# Installs what a Debian 12 machine needs to build, test and run Causeway, and nothing that it has.
#
#   dpdk-build/install.sh build    what `cargo build` needs
#   dpdk-build/install.sh run      what the appliance alone needs
#   dpdk-build/install.sh static   what the program as it is shipped is built with: the trimmed DPDK is built first
#   dpdk-build/install.sh package  what packages are tested with: a clean Debian in a directory, lintian, another CPU
#   dpdk-build/install.sh image    what disk images are made and booted with
#   dpdk-build/install.sh test     build, static and package, and what the demo and the tests put on the other side of our ports
#   dpdk-build/install.sh watch    what the tests of metrics and page watch with: Prometheus and a browser, 0.4 GB
#
# It changes nothing when all packages are there; without root it says which are missing and ends with 1.
set -eu

build="libdpdk-dev libipsec-mb-dev pkg-config clang libclang-dev gcc libc6-dev"
run="dpdk libipsec-mb1 kmod"
static="dpkg-dev xz-utils meson ninja-build python3-pyelftools libnuma-dev libelf-dev libbpf-dev libxdp-dev libibverbs-dev \
libipsec-mb-dev pkg-config clang libclang-dev gcc libc6-dev debian-archive-keyring"
package="dpkg-dev lintian mmdebstrap qemu-user man-db"
image="mmdebstrap qemu-system-x86 mtools dosfstools syslinux syslinux-common e2fsprogs fdisk iproute2 iputils-ping"
test="iproute2 iputils-ping iperf3 tcpdump socat jq python3 python3-pytest python3-pytest-xdist python3-scapy python3-pexpect \
python3-cryptography python3-cbor2 tshark openssl clang bpftool libbpf-dev nftables conntrack tinyproxy ethtool procps linux-perf"

watch="prometheus chromium fonts-dejavu-core"

case "${1:-test}" in
    build) packages="$build" ;;
    run) packages="$run" ;;
    static) packages="$static" ;;
    package) packages="$static $package" ;;
    image) packages="$static $image" ;;
    test) packages="$build $run $static $package $test" ;;
    watch) packages="$watch" ;;
    *) echo "usage: $0 [build|run|static|package|image|test|watch]" >&2; exit 2 ;;
esac

missing=""
for package in $packages; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "missing packages:$missing" >&2
    echo "install them as root:  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
