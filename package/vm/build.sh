#!/usr/bin/env bash
# Builds the appliance's disk image: package/vm/build.sh [--package FILE] [--out FILE]; prints its path.
#
# Debian minimal with its full kernel (which has vfio-pci and uio_pci_generic), the package, and a first-boot console. The raw image
# boots by BIOS: an MBR with syslinux, a FAT partition with kernel and initrd, an ext4 partition with the rest. It is made without
# loop devices. What Debian gives is kept (target/image/base-*.tar) and made again by --fresh. Packages: dpdk-build/install.sh image
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
package="" out="$target/image/causeway.img" fresh=""
while [ $# -gt 0 ]; do
    case "$1" in
        --package) package="${2:?}"; shift ;;
        --out) out="${2:?}"; shift ;;
        --fresh) fresh=yes ;;
        *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "the files of the image belong to root: sudo $0" >&2; exit 1; }
[ -n "$package" ] || package="$(package/build.sh)"

boot_mb=128 root_mb=1400 # the root partition grows to the end of the disk at the first boot

base="$target/image/base-$(sha256sum "$here/base.sh" | cut -c1-12).tar"
mkdir -p "$target/image"
if [ ! -e "$base" ] || [ -n "$fresh" ]; then
    rm -f "$target"/image/base-*.tar
    "$here/base.sh" "$base.new.tar" >&2
    mv "$base.new.tar" "$base"
fi

work="$(mktemp -d "$target/image/work.XXXXXX")"
trap 'rm -rf "$work"' EXIT
root="$work/root"
mkdir "$root"
tar -xf "$base" -C "$root" --numeric-owner --xattrs --xattrs-include='*'
# Directories whose other files are left out.
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/doc/causeway"
cp "$package" "$root/tmp/causeway.deb"
chroot "$root" dpkg -i --force-confnew /tmp/causeway.deb >&2
rm "$root/tmp/causeway.deb"

uuid="$(cat /proc/sys/kernel/random/uuid)"
cat >"$root/etc/fstab" <<END
UUID=$uuid / ext4 defaults,errors=remount-ro 0 1
LABEL=CWBOOT /boot/loader vfat defaults,umask=0077 0 2
END
mkdir -p "$root/boot/loader"
echo causeway >"$root/etc/hostname"
# Names are asked for where networkd says, by DHCP or by DNS= of a network.
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
install -m 755 "$here/firstboot" "$root/usr/sbin/causeway-firstboot"
install -m 644 "$here/causeway-firstboot.service" "$root/etc/systemd/system/"
install -D -m 755 "$here/kernel-hook" "$root/etc/kernel/postinst.d/zz-causeway-loader"
install -D -m 755 "$here/kernel-hook" "$root/etc/initramfs/post-update.d/zz-causeway-loader"
chroot "$root" systemctl --quiet enable causeway-firstboot.service systemd-networkd.service systemd-resolved.service causeway.service serial-getty@ttyS0.service >&2
# Until somebody has chosen a password nobody logs in.
chroot "$root" passwd --quiet --lock root

mkdir "$work/loader"
cp "$root"/boot/vmlinuz-* "$work/loader/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/loader/initrd.img"
cat >"$work/loader/syslinux.cfg" <<END
DEFAULT causeway
TIMEOUT 10
LABEL causeway
  LINUX vmlinuz
  INITRD initrd.img
  APPEND root=UUID=$uuid ro quiet systemd.show_status=true console=tty0 console=ttyS0,115200 net.ifnames=1
END

# The partitions as files, then the disk around them.
sector=2048
boot_sectors=$((boot_mb * 2048)) root_sectors=$((root_mb * 2048))
truncate -s "${boot_mb}M" "$work/boot.fat"
mkfs.vfat -F 32 -n CWBOOT "$work/boot.fat" >/dev/null
mcopy -i "$work/boot.fat" "$work"/loader/* ::/
syslinux --install "$work/boot.fat"
truncate -s "${root_mb}M" "$work/root.ext4"
mke2fs -q -t ext4 -U "$uuid" -L causeway -m 0 -d "$root" "$work/root.ext4" >&2
truncate -s $(((sector + boot_sectors + root_sectors) * 512)) "$work/disk"
sfdisk --quiet "$work/disk" <<END
label: dos
start=$sector, size=$boot_sectors, type=c, bootable
start=$((sector + boot_sectors)), size=$root_sectors, type=83
END
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/boot.fat" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/root.ext4" of="$work/disk" bs=1M seek=$((1 + boot_mb)) conv=notrunc,sparse status=none
mkdir -p "$(dirname "$out")"
mv "$work/disk" "$out"
echo "$out"
