"""The appliance VM: its image boots, its two NICs belong to DPDK, and a frame crosses to an appliance outside.

    host a -- lan --(trunk) [ VM: client, net_virtio by PCI ] (uplink)-- wan -- eth0 [ appliance outside: server, kernel ports ] lan0 -- host b

The bridges `lan` and `wan` are in one namespace, in which qemu runs with a TAP device on each. The machine is emulated, on a CPU that is
x86-64-v2 and nothing more, which is slow: the test waits with patience and says how long it took.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lab import causeway_binary, sh  # noqa: E402
from netns import Namespace, veth  # noqa: E402
from tools import ping_times  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
IMAGE = pathlib.Path(os.environ.get("CAUSEWAY_IMAGE", TARGET / "image" / "causeway.img"))
PATIENCE = float(os.environ.get("CAUSEWAY_VM_PATIENCE", 900))
ACCEL = os.environ.get("CAUSEWAY_VM_ACCEL", "tcg")  # emulated works everywhere; kvm where it is sound
TRUNK, UPLINK = "0000:00:10.0", "0000:00:11.0"

SERVER = """\
mode = "server"
[system]
workers = [0]
socket = "{directory}/server.sock"
[[port]]
name = "lan"
role = "trunk"
device = "kernel:lan0"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "lan"
untagged = true
[server]
listen = "0.0.0.0:443"
data_port = 443
certificate = "server.crt"
key = "server.key"
dead_peer_ms = 30000
[[server.site]]
user = "vm"
verifier = "{verifier}"
"""

# Beside what `causeway setup` writes: the segment and the way to the server.
CLIENT = """
[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "trunk0"
untagged = true
[client]
server = "vpn.lab"
user = "vm"
password = "correct horse battery"
fingerprint = "{fingerprint}"
"""

# What an operator does at the first boot; everything on the console tells the test how far it is.
PROVISION = """\
set -eu
causeway setup --trunk {trunk} --uplink {uplink} --bind uio_pci_generic --workers 1 --write
interface="$(sed -n 's/^interface = "\\(.*\\)".*/\\1/p' /etc/causeway/causeway.toml)"
sed -i '/^\\[\\[segment\\]\\]/,$d' /etc/causeway/causeway.toml
cat client.toml >>/etc/causeway/causeway.toml
printf '[Match]\\nName=%s\\n[Network]\\nAddress=192.0.2.2/24\\nDNS=192.0.2.1\\n[Link]\\nRequiredForOnline=no\\n' "$interface" >/etc/systemd/network/50-wan.network
causeway setup --apply
causeway check -c /etc/causeway/causeway.toml
causeway doctor || true
echo causeway-test: provisioned
"""


# A name server that has one answer to every question for an IPv4 address, and none to others (RFC 1035, 4.1).
NAME_SERVER = """\
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("192.0.2.1", 53))
while True:
    asked, who = here.recvfrom(4096)
    end = asked.index(0, 12) + 5
    is_address = asked[end - 4:end - 2] == bytes([0, 1])
    answer = bytes([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]) if is_address else b""
    counts = bytes([0, 1, 0, int(is_address), 0, 0, 0, 0])
    here.sendto(asked[:2] + bytes([0x85, 0x80]) + counts + asked[12:end] + answer, who)
"""


class Vm:
    """The image, booted with a seed disk in a namespace."""

    def __init__(self, namespace, directory):
        self.console = directory / "console.log"
        disk = directory / "disk.img"
        subprocess.run(["cp", "--sparse=always", IMAGE, disk], check=True)
        with self.console.open("wb") as log:
            self.process = namespace.popen(
                "qemu-system-x86_64", "-machine", f"q35,accel={ACCEL}", "-cpu", "Nehalem", "-smp", 2, "-m", 1536, "-nographic",
                "-nodefaults", "-serial", "stdio", "-no-reboot",
                "-drive", f"file={disk},format=raw,if=virtio",
                "-drive", f"file={directory}/seed.img,format=raw,if=virtio,readonly=on",
                "-netdev", "tap,id=trunk,ifname=tap-lan,script=no,downscript=no",
                "-device", "virtio-net-pci,romfile=,netdev=trunk,addr=10,mac=02:00:00:00:0a:01",
                "-netdev", "tap,id=wan,ifname=tap-wan,script=no,downscript=no",
                "-device", "virtio-net-pci,romfile=,netdev=wan,addr=11,mac=02:00:00:00:0a:02",
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self, text):
        return text in self.console.read_text(errors="replace")

    def wait(self, what, condition):
        """Waits until `condition` holds; says what it waited for and what the console said last, if it does not."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            tail = self.console.read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"qemu ended before {what}\n{tail}"
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s\n{tail}"
            time.sleep(1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def seed(directory, fingerprint):
    """The disk with the label CAUSEWAY."""
    image = directory / "seed.img"
    (directory / "client.toml").write_text(CLIENT.format(fingerprint=fingerprint))
    (directory / "provision.sh").write_text(PROVISION.format(trunk=TRUNK, uplink=UPLINK))
    sh("truncate", "-s", "4M", image)
    sh("mkfs.vfat", "-n", "CAUSEWAY", image)
    sh("mcopy", "-i", image, directory / "client.toml", directory / "provision.sh", "::/")


@pytest.fixture
def place(tmp_path):
    """Four namespaces: the cables with the VM, the appliance outside, a host behind each."""
    prefix = f"cwvm{os.getpid()}-"
    cables, outside, host_a, host_b = spaces = [Namespace(prefix + name) for name in ("cables", "outside", "a", "b")]
    try:
        veth(host_a, "eth0", cables, "host-a")
        host_a.address("eth0", "10.10.0.1/24")
        veth(outside, "lan0", host_b, "eth0")
        outside.no_ipv6("lan0")
        host_b.address("eth0", "10.10.0.2/24")
        veth(outside, "eth0", cables, "outside")
        outside.address("eth0", "192.0.2.1/24")
        for tap in ("tap-lan", "tap-wan"):
            cables.ip("tuntap", "add", tap, "mode", "tap")
            cables.ip("link", "set", "dev", tap, "up")
        cables.bridge("lan", "host-a", "tap-lan")
        cables.bridge("wan", "outside", "tap-wan")
        yield cables, outside, host_a, host_b, tmp_path
    finally:
        for space in spaces:
            space.remove()


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="dpdk-build/install.sh image installs qemu")
def test_a_frame_crosses_between_the_vm_and_an_appliance_outside(place):
    cables, outside, host_a, host_b, directory = place
    binary = causeway_binary()
    began = time.monotonic()
    sh(binary, "cert", "self-sign", "--cn", "vpn.lab", "--out", directory / "server")
    fingerprint = sh(binary, "cert", "fingerprint", directory / "server.crt").strip()
    verifier = sh(binary, "passwd", input="correct horse battery\n").strip()
    (directory / "server.toml").write_text(SERVER.format(directory=directory, verifier=verifier))
    seed(directory, fingerprint)
    with (directory / "server.log").open("wb") as log:
        server = outside.popen(binary, "run", "-c", directory / "server.toml", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    names = outside.popen(sys.executable, "-c", NAME_SERVER, stdin=subprocess.DEVNULL)
    vm = Vm(cables, directory)

    def told(what):
        print(f"\n{time.monotonic() - began:6.0f} s  {what}", end="", flush=True)

    try:
        vm.wait("its kernel starts", lambda: vm.said("Linux version") or vm.said("causeway"))
        vm.wait("it is set up", lambda: vm.said("causeway-test: provisioned"))
        console = vm.console.read_text(errors="replace")
        assert f"{TRUNK} is bound to uio_pci_generic" in console and f"{UPLINK} is bound to uio_pci_generic" in console
        told("the first boot is done, both NICs belong to DPDK")
        show = lambda: sh(binary, "show", "service", "l2vpn", "--json", "--socket", directory / "server.sock", check=False)  # noqa: E731
        vm.wait("the session comes up", lambda: '"state": "up"' in show())
        told("the server's name was resolved, the session is up")
        vm.wait("a ping crosses", lambda: ping_times(host_a, "10.10.0.2", count=1))
        told("a ping crosses")
        assert len(ping_times(host_a, "10.10.0.2", count=10, interval=0.2)) >= 9
        assert ping_times(host_a, "10.10.0.2", count=3, interval=0.2, size=1472, dont_fragment=True), "full-size frames"
        told("full-size frames cross\n")
    finally:
        vm.stop()
        for process in (names, server):
            process.terminate()
            process.wait(10)
