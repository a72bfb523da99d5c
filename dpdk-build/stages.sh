#!/usr/bin/env bash
# Runs the stages builder and runtime of the Dockerfile without a container engine, in clean Debians made by mmdebstrap, and shows what the image would have:
#
#   dpdk-build/stages.sh [--package FILE] [--list FILE]
#
# Without --package the builder stage runs too, on this machine (Rust is not in Debian in the version that we need). Ends with 1 when the
# runtime stage has files that are neither Debian's nor the package's, or when a server does not run in it as the user "causeway".
# Packages: dpdk-build/install.sh package
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
package="" list="$target/container.list"
while [ $# -gt 0 ]; do
    case "$1" in
        --package) package="${2:?}"; shift ;;
        --list) list="${2:?}"; shift ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
[ -n "$package" ] || package="$(package/build.sh)"

place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
root="$place/root"
suite="$(sed -n 's/^FROM debian:\([a-z]*\)-slim AS runtime$/\1/p' Dockerfile)"
mmdebstrap --quiet --variant=minbase "$suite" "$root"
snapshot() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp \) -prune -o \( -type f -o -type l -o -type d \) -print | LC_ALL=C sort); }
cp "$package" "$root/tmp/causeway.deb"
cp dpdk-build/container.sh "$root/tmp/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
unshare --mount --pid --fork sh -c 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" sh /tmp/container.sh' "$root"

# Every file is of a package, but what installing packages leaves in /etc, /var and /root. Debian's /bin and /lib are links to those in /usr.
snapshot | sed 's|^\./|/|' >"$list"
merged() { sed -E 's,^/usr/(bin|sbin|lib|lib64)/,/\1/,' | sort -u; }
cat "$root"/var/lib/dpkg/info/*.list | merged >"$place/owned"
(cd "$root" && find . -xdev -type f) | sed 's|^\.||' | merged >"$place/there"
strangers="$(comm -13 "$place/owned" "$place/there" | grep -vE '^/(var|etc|proc|sys|dev|run|tmp|root)/|^/usr/share/info/dir$' || true)"
if [ -n "$strangers" ]; then
    echo "of no package:" >&2
    echo "$strangers" >&2
    exit 1
fi
# As the engine starts it: another user, the capabilities on the file. A server that makes its certificate by itself.
cat >"$root/etc/causeway/causeway.toml" <<'END'
mode = "server"
[system]
memory_mb = 64
[[port]]
name = "trunk0"
role = "trunk"
device = "net_null0"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:lo"
mtu = 1500
[[segment]]
name = "one"
tunnel_id = 1
[[segment.attachment]]
port = "trunk0"
vlan = 10
[server]
listen = "127.0.0.1:443"
END
chroot "$root" chgrp causeway /etc/causeway/causeway.toml
chmod 640 "$root/etc/causeway/causeway.toml"
unshare --mount --pid --fork --net sh -c 'ip link set dev lo up && mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" &&
    mount --rbind /dev "$0/dev" && exec chroot --userspec=causeway --groups=causeway "$0" sh -c "$1"' "$root" '
    /usr/bin/causeway --version
    /usr/bin/causeway run -c /etc/causeway/causeway.toml >/tmp/log 2>&1 &
    pid=$!
    for turn in $(seq 300); do
        /usr/bin/causeway show certificate >/tmp/shown 2>/dev/null && break
        kill -0 $pid || break
        sleep 0.2
    done
    kill $pid; wait $pid || { cat /tmp/log; exit 1; }
    grep -q server /tmp/shown && [ -s /var/lib/causeway/server.key ] || { cat /tmp/log /tmp/shown; exit 1; }
    echo "a server ran as $(id -un)"'
echo "$(wc -l <"$list") files, $(du -sm "$root" | cut -f1) MB: $list"
