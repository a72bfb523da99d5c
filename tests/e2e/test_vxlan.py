"""VXLAN towards kernel VTEPs: several of them by head-end replication or a multicast group, over IPv4 and over IPv6."""

import itertools
import time

import pytest
from scapy.all import ARP, Ether

from lab import UNDERLAY_MTU, VNI, Lab
from netns import veth
from tools import Capture, inject, iperf, ping_times, seconds_until_ping, wait_until

UNDERLAY = {"ipv4": ("10.20.0.{}", 24), "ipv6": ("fd20::{}", 64)}
GROUP = {"ipv4": "239.1.1.1", "ipv6": "ff05::114"}
VTEPS = (2, 3)


class VxlanLab(Lab):
    """Site B has two VTEPs in its underlay, and a host behind each."""

    def __init__(self, family, multicast):
        super().__init__()
        self.family = family
        self.multicast = multicast

    def address_of(self, number):
        return UNDERLAY[self.family][0].format(number)

    def build_site_b(self):
        super().build_site_b()
        underlay = self.namespace("underlay")
        self["b"].ip("link", "delete", "dev", "lan0")
        veth(self["b"], "lan0", underlay, "b", UNDERLAY_MTU)
        length = UNDERLAY[self.family][1]
        self["b"].address("lan0", f"{self.address_of(1)}/{length}")
        cables = ["b"]
        for number in VTEPS:
            name = f"vtep{number}"
            vtep, host = self.namespace(name), self.namespace(f"host{number}")
            veth(vtep, "eth0", underlay, name, UNDERLAY_MTU)
            cables.append(name)
            vtep.address("eth0", f"{self.address_of(number)}/{length}")
            self.vxlan(vtep, number)
            veth(host, "eth0", vtep, "host", 1450)
            vtep.bridge("br0", "vxlan0", "host")
            host.address("eth0", f"10.10.0.{number}0/24")
        underlay.bridge("br0", *cables)

    def vxlan(self, vtep, number):
        device = ["link", "add", "vxlan0", "mtu", 1450, "type", "vxlan", "id", VNI, "dev", "eth0",
                  "local", self.address_of(number), "dstport", 4789]
        if self.multicast:
            vtep.ip(*device, "group", GROUP[self.family])
        else:
            vtep.ip(*device)
            for other in {1, *VTEPS} - {number}:
                vtep.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vxlan0", "dst", self.address_of(other))
        vtep.ip("link", "set", "dev", "vxlan0", "up")

    def write_configs(self, *arguments, **options):
        super().write_configs(*arguments, **options)
        remotes = ", ".join(f'"{self.address_of(number)}"' for number in VTEPS)
        flooded = f'group = "{GROUP[self.family]}"' if self.multicast else f"remotes = [{remotes}]"
        text = self.b.config.read_text()
        text = text.replace('local = "10.20.0.1"', f'local = "{self.address_of(1)}"')
        self.b.config.write_text(text.replace('remotes = ["10.20.0.2"]', flooded))


@pytest.fixture(scope="module", params=itertools.product(("ipv4", "ipv6"), (False, True)),
                ids=["ipv4 head-end", "ipv4 multicast", "ipv6 head-end", "ipv6 multicast"])
def vxlan(request):
    family, multicast = request.param
    with VxlanLab(family, multicast) as lab:
        lab.start()
        yield lab


def reaches(host, address):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if ping_times(host, address, count=1):
            return True
    return False


def test_hosts_behind_both_are_reached_from_the_other_site(vxlan):
    for number in VTEPS:
        assert reaches(vxlan["a10"], f"10.10.0.{number}0"), f"behind VTEP {number}"
        assert len(ping_times(vxlan["a10"], f"10.10.0.{number}0", count=5)) == 5
        assert len(ping_times(vxlan["a10"], f"10.10.0.{number}0", count=3, size=1400, dont_fragment=True)) == 3
    macs = vxlan.b.macs()
    for number in VTEPS:
        where = macs["servers", vxlan[f"host{number}"].mac("eth0")]
        assert where == f"underlay VNI {VNI} at {vxlan.address_of(number)}"


def test_vteps_reach_each_other_without_us(vxlan, tmp_path):
    """The underlay forwards between them (RFC 7348 4.1): a broadcast arrives once."""
    assert reaches(vxlan["host2"], "10.10.0.30")
    with Capture(vxlan["host3"], "eth0", tmp_path / "once.pcap", "arp") as capture:
        frame = Ether(src=vxlan["host2"].mac("eth0"), dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.10.0.20", pdst="10.10.0.99")
        inject(vxlan["host2"], "eth0", [frame])
        time.sleep(0.3)
    assert len(capture.having(bytes([10, 10, 0, 99]))) == 1
    assert len(ping_times(vxlan["host2"], "10.10.0.30", count=3)) == 3


def test_a_stream_passes(vxlan):
    assert reaches(vxlan["host2"], "10.10.0.1")
    end = iperf(vxlan["host2"], vxlan["a10"], "10.10.0.20", seconds=1)
    assert end["sum_received"]["bytes"] > 5_000_000


def test_the_underlays_interface_is_removed_and_made_anew(vxlan):
    """The port opens the new one, and is in the group again when that has an address."""
    before = vxlan["b"].mac("lan0")
    vxlan["b"].ip("link", "del", "dev", "lan0")
    wait_until(lambda: "its interface is gone" in vxlan.b.log(), "it is told")
    veth(vxlan["b"], "lan0", vxlan["underlay"], "b", UNDERLAY_MTU)
    vxlan["underlay"].ip("link", "set", "dev", "b", "master", "br0")
    time.sleep(1.5)  # without an address for a while, and perhaps open by now; neighbours know the old MAC address only
    vxlan["b"].ip("link", "set", "dev", "lan0", "address", before)
    wait_until(lambda: vxlan.b.show("ports")["ports"][0]["mac"] == before, "the port has the interface's address")
    vxlan["b"].address("lan0", f"{vxlan.address_of(1)}/{UNDERLAY[vxlan.family][1]}")
    if vxlan.multicast:
        groups = lambda: vxlan["b"].run("ip", "maddr", "show", "dev", "lan0")  # noqa: E731
        wait_until(lambda: GROUP[vxlan.family] in groups(), "it is in the group")
    for number in VTEPS:
        vxlan[f"host{number}"].ip("neigh", "flush", "all")
        assert seconds_until_ping(vxlan[f"host{number}"], "10.10.0.1") < 30
