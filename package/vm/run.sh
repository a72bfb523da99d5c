#!/usr/bin/env bash
# Boots the appliance VM on this terminal: package/vm/run.sh [IMAGE] [-- MORE QEMU ARGUMENTS]; Ctrl-A X ends it.
#
# Changes are kept in the image. With KVM where there is one, else emulated (CAUSEWAY_VM_ACCEL=tcg: emulated all the same). Two virtio NICs: the first is in a network of its own (a trunk
# without a neighbour), the second in qemu's user network, which has DHCP and a way out. More arguments come behind and may say otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
image="${CARGO_TARGET_DIR:-$PWD/target}/image/causeway.img"
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    image="$1"
    shift
fi
[ "${1:-}" != -- ] || shift
[ -e "$image" ] || { echo "$image is not there: ./dev image makes it" >&2; exit 1; }
exec qemu-system-x86_64 -machine "q35,accel=${CAUSEWAY_VM_ACCEL:-kvm:tcg}" -cpu max -smp 2 -m 1536 -nographic -serial mon:stdio -nodefaults \
    -drive "file=$image,format=raw,if=virtio" \
    -netdev hubport,hubid=0,id=trunk -device virtio-net-pci,romfile=,netdev=trunk,addr=10,mac=02:00:00:00:0a:01 \
    -netdev user,id=wan -device virtio-net-pci,romfile=,netdev=wan,addr=11,mac=02:00:00:00:0a:02 "$@"
