#!/usr/bin/env bash
# What the appliance VM is made of beside the package, as an archive: package/vm/base.sh FILE.tar
#
# Debian minimal, its full kernel, and what the package depends on; neither manuals nor drivers for what a virtual machine has not: sound,
# screens, radio, cameras.
set -euo pipefail
parts="linux-image-amd64 initramfs-tools zstd systemd-sysv udev dbus kmod iproute2 iputils-ping ethtool pciutils procps less nano-tiny
systemd-timesyncd systemd-resolved ca-certificates adduser libnuma1 libelf1 libbpf1 libxdp1 zlib1g e2fsprogs fdisk login passwd"
options=()
for path in '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/doc/*' '/lib/modules/*/kernel/sound/*'; do
    options+=(--dpkgopt="path-exclude=$path")
done
for drivers in gpu media staging net/wireless infiniband iio usb hid hwmon net/ethernet/mellanox bluetooth isdn leds mmc input/touchscreen; do
    options+=(--dpkgopt="path-exclude=/lib/modules/*/kernel/drivers/$drivers/*")
done
for path in '/usr/share/doc/*/copyright' '/usr/share/doc/causeway/*' '/usr/share/man/man1/causeway*'; do
    options+=(--dpkgopt="path-include=$path")
done
# The initrd has what finds the disk, on the hypervisors that there are, and no more.
modules="virtio_pci virtio_blk virtio_scsi sd_mod ahci ata_piix nvme mptspi vmw_pvscsi hv_storvsc ext4 crc32c_generic"
mmdebstrap --quiet --variant=minbase --include="$(echo $parts | tr ' ' ,)" "${options[@]}" \
    --essential-hook="mkdir -p \"\$1/etc/initramfs-tools/conf.d\" && printf 'MODULES=list\nCOMPRESS=zstd\n' >\"\$1/etc/initramfs-tools/conf.d/causeway\" &&
        printf '%s\n' $modules >\"\$1/etc/initramfs-tools/modules\"" \
    bookworm "$1"
