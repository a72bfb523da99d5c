#!/usr/bin/env bash
# Builds the trimmed static DPDK that the appliance ships with, from Debian's source package, once: what it made is
# kept by the source's version and by this recipe, and used again.
#
#   dpdk-build/static.sh              prints the prefix; builds if there is none yet
#   dpdk-build/static.sh --refresh    asks the archive for a newer version first
#   dpdk-build/static.sh --drivers    the drivers in it, with the reason for each
#
# The prefix goes to crates/dpdk-sys:  CAUSEWAY_DPDK=static DPDK_PREFIX=$(dpdk-build/static.sh) cargo build
# Builds are kept in $CAUSEWAY_DPDK_CACHE, by default target/dpdk. Packages: dpdk-build/install.sh static
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${CAUSEWAY_DPDK_CACHE:-${CARGO_TARGET_DIR:-$here/../target}/dpdk}"

# Every driver has a reason. What has none is not in the appliance, and cannot be attacked there.
drivers() {
    cat <<'END'
bus/pci           NICs
bus/vdev          virtual devices
bus/auxiliary     mlx5 registers with it
mempool/ring      the mempool that every packet buffer comes from
common/iavf       what ice, i40e and iavf share
common/mlx5       what mlx5 stands on; its libraries are loaded when there is such a NIC
net/virtio        KVM, most clouds; also virtio_user, the other end of vhost
net/vmxnet3       VMware, where those who come from NSX are
net/ena           Amazon EC2
net/ixgbe         Intel 82599, X520, X540, X550 and their virtual functions: 10 Gbit/s
net/i40e          Intel X710, XL710, X722: 10 to 40 Gbit/s
net/ice           Intel E810: 25 to 100 Gbit/s
net/iavf          virtual functions (SR-IOV) of i40e and ice
net/mlx5          NVIDIA ConnectX-4 and later: 10 to 400 Gbit/s
net/af_packet     any Linux interface, frame by frame
net/af_xdp        any Linux interface, by XDP
net/memif         two processes at speed: VPP, containers
net/vhost         a virtual machine on this host, at speed
net/ring          benchmarks and tests
net/null          benchmarks and tests
net/tap           the host interface: the kernel's companion of a port
END
}

# Libraries of DPDK that neither the appliance nor these drivers use.
without="acl bbdev bitratestats bpf cfgfile compressdev distributor efd eventdev fib flow_classify gpudev graph gro ip_frag ipsec
jobstats kni latencystats lpm member metrics node pcapng pdump pipeline port power rawdev regexdev reorder rib sched stack table"

# The libraries that the build may find beside libnuma. Others that happen to be on this machine are not looked at, so that
# every machine builds the same.
libraries="libelf zlib libbpf libxdp libibverbs libmlx5 libnl-3.0 libnl-route-3.0"

say() { echo "$*" >&2; }

# apt with lists of its own, which alone have source packages: the machine's stay as they are.
private_apt() {
    local program="$1"
    shift
    "$program" -q -o Dir::Etc::SourceList="$cache/apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$cache/apt/lists" \
        -o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User=root -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}

update() {
    local release
    release="$(. /etc/os-release && echo "$VERSION_CODENAME")"
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    local signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    cat >"$cache/apt/sources.list" <<END
deb-src $signed http://deb.debian.org/debian $release main
deb-src $signed http://deb.debian.org/debian $release-updates main
deb-src $signed http://deb.debian.org/debian-security $release-security main
END
    private_apt apt-get update >&2
}

newest() { private_apt apt-cache showsrc dpdk | sed -n 's/^Version: //p' | sort -V | tail -1; }

build() {
    local version="$1" prefix="$2" work="$cache/work" list pc
    rm -rf "$work" "$prefix"
    mkdir -p "$work/pc"
    (cd "$work" && private_apt apt-get source --quiet dpdk="$version" >&2)
    mv "$work"/dpdk-*/ "$work/source"
    # pcap and fdt would be taken without pkg-config, where they happen to be there.
    sed -i "s/= cc.find_library(pcap_lib, required: false)/= dependency('', required: false)/
        s/= cc.find_library('fdt', required: false)/= dependency('', required: false)/" "$work/source/config/meson.build"
    # DPDK calls libraries mandatory that are only not optional in everybody's build.
    sed -i 's/if not optional_libs.contains(l)/if false/' "$work/source/lib/meson.build"
    # mlx5 looks for its libraries before main, in every command: that they are not there is no news to most.
    sed -i 's/DRV_LOG(WARNING, "Cannot load glue/DRV_LOG(DEBUG, "Cannot load glue/
        s/DRV_LOG(WARNING, "Cannot initialize MLX5 common/DRV_LOG(DEBUG, "Cannot initialize MLX5 common/' "$work/source/drivers/common/mlx5/linux/mlx5_common_os.c"
    for pc in $libraries; do
        cp "$(pkg-config --variable=pcfiledir "$pc")/$pc.pc" "$work/pc/"
    done
    list="$(drivers | cut -d' ' -f1 | paste -sd,)"
    # "generic" is Intel's Nehalem, which is x86-64-v2; what a newer CPU can do better is chosen at run time. The prefix is where the
    # package has mlx5's glue library, the one thing that is loaded.
    PKG_CONFIG_LIBDIR="$work/pc" meson setup "$work/build" "$work/source" --prefix=/usr --libdir=lib/causeway --buildtype=release -Doptimization=2 \
        --default-library=static -Dplatform=generic -Dtests=false -Denable_kmods=false -Denable_docs=false -Ddisable_apps='*' \
        -Ddisable_libs="$(echo $without | tr ' ' ,)" -Denable_drivers="$list" -Dibverbs_link=dlopen -Dmax_lcores=256 -Ddeveloper_mode=disabled >&2
    for pc in $(drivers | cut -d' ' -f1 | tr / _); do
        grep -q "define RTE_$(echo "$pc" | tr a-z A-Z) 1" "$work/build/rte_build_config.h" || { say "driver $pc was not built"; exit 1; }
    done
    ninja -C "$work/build" ${CAUSEWAY_JOBS:+-j "$CAUSEWAY_JOBS"} >&2
    DESTDIR="$work/root" meson install -C "$work/build" --quiet >&2
    mv "$work/root/usr" "$prefix.new"
    strip --strip-debug "$prefix.new"/lib/causeway/*.a
    find "$prefix.new" -name '*.so*' ! -name '*glue*' -delete
    sed -i "s|^prefix=.*|prefix=$prefix|" "$prefix.new"/lib/causeway/pkgconfig/*.pc
    echo "$version" >"$prefix.new/version"
    mv "$prefix.new" "$prefix"
    rm -rf "$work"
}

case "${1:-}" in
    --drivers) drivers; exit ;;
    ""|--refresh) ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

mkdir -p "$cache"
cache="$(cd "$cache" && pwd)"
exec 9>"$cache/lock"
flock 9
recipe="$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)"
kept="$(find "$cache" -maxdepth 1 -type d -name "*-$recipe" | sort -V | tail -1)"
if [ -z "$kept" ] || [ "${1:-}" = --refresh ]; then
    "$here/install.sh" static >&2
    update
    version="$(newest)"
    kept="$cache/$version-$recipe"
    if [ ! -d "$kept" ]; then
        say "building DPDK $version with $(drivers | wc -l) drivers into $kept"
        build "$version" "$kept"
    fi
fi
echo "$kept"
