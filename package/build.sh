#!/usr/bin/env bash
# Makes the Debian package: package/build.sh [--binary FILE] [--version VERSION]; prints its path.
#
# Without --binary it builds the program against the static DPDK first. Packages: dpdk-build/install.sh static package
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)-1"
binary=""
while [ $# -gt 0 ]; do
    case "$1" in
        --binary) binary="${2:?}"; shift ;;
        --version) version="${2:?}"; shift ;;
        *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
DPDK_PREFIX="$(dpdk-build/static.sh)"
if [ -z "$binary" ]; then
    CAUSEWAY_DPDK=static DPDK_PREFIX="$DPDK_PREFIX" cargo build --profile dist --locked --quiet -p causeway
    binary="$target/dist/causeway"
fi
arch="$(dpkg --print-architecture)"
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
root="$stage/root"
umask 022

put() { install -D -m "$1" "$2" "$root/$3"; }

put 755 "$binary" usr/bin/causeway
strip --strip-all --remove-section=.comment "$root/usr/bin/causeway"
glue="$(cd "$DPDK_PREFIX/lib/causeway" && echo dpdk/pmds-*-glue/*.so.*)"
put 644 "$DPDK_PREFIX/lib/causeway/$glue" "usr/lib/causeway/$glue"
strip --strip-unneeded "$root/usr/lib/causeway/$glue"

put 644 appliance-config/systemd/causeway.service lib/systemd/system/causeway.service
put 644 appliance-config/systemd/60-causeway.rules lib/udev/rules.d/60-causeway.rules
put 644 appliance-config/systemd/causeway.default etc/default/causeway
install -d -m 755 "$root/etc/causeway"

doc="$root/usr/share/doc/causeway"
install -d "$doc/examples"
for kind in toml grafana prometheus; do
    for found in appliance-config/*"$kind"; do
        [ ! -e "$found" ] || cp -r "$found" "$doc/examples/"
    done
done
cp -r docs/*.md docs/tasks docs/decisions docs/wireshark "$doc/"
cp package/copyright "$doc/copyright"
printf 'causeway (%s) unstable; urgency=medium\n\n  * Built from the sources of this version; their history says what changed.\n\n -- %s  %s\n' \
    "$version" "$(sed -n 's/^Maintainer: //p' package/control)" "$(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}")" \
    | gzip -9n >"$doc/changelog.Debian.gz"
find "$doc" -type f -exec chmod 644 {} +
# Pages are not compressed: links between them, and the unit's Documentation=, lead to them as they are. Examples have a place of their own
# here, and what is in the sources only is named without a link.
find "$doc" -type f -name '*.md' -exec sed -Ei \
    -e 's#\]\((\.\./)*(\.\./)appliance-config/#](\1examples/#g' \
    -e 's#\[([^]]*)\]\((\.\./)+(crates|perf)/[^)]*\)#\1#g' {} +

"$binary" manual "$stage/manual"
for page in "$stage"/manual/man/*.1; do
    gzip -9n "$page"
    put 644 "$page.gz" "usr/share/man/man1/$(basename "$page").gz"
done
put 644 "$stage/manual/completions/causeway.bash" usr/share/bash-completion/completions/causeway
put 644 "$stage/manual/completions/_causeway" usr/share/zsh/vendor-completions/_causeway
put 644 "$stage/manual/completions/causeway.fish" usr/share/fish/vendor_completions.d/causeway.fish

# What the program needs beside it. The glue library's needs are only suggested: it is loaded where there is such a NIC.
mkdir -p "$stage/debian"
printf 'Source: causeway\n\nPackage: causeway\nArchitecture: any\n' >"$stage/debian/control"
depends="$(cd "$stage" && dpkg-shlibdeps -O --ignore-missing-info "$root/usr/bin/causeway" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')"
[ -n "$depends" ] || { echo "dpkg-shlibdeps found nothing" >&2; exit 1; }
size="$(du -sk "$root" | cut -f1)"
install -d "$root/DEBIAN"
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@DEPENDS@/$depends/; s/@SIZE@/$size/" package/control >"$root/DEBIAN/control"
echo /etc/default/causeway >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "package/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr lib etc -type f ! -path etc/default/causeway -exec md5sum {} +) | LC_ALL=C sort -k2 >"$root/DEBIAN/md5sums"
mkdir -p "$target/package"
package="$target/package/causeway_${version}_$arch.deb"
dpkg-deb --root-owner-group -Zxz -z6 --build "$root" "$package" >/dev/null
echo "$package"
