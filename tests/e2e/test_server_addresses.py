"""A server with two uplinks: clients reach it by the address of each, and when one dies they come back by the other."""

import pytest
from scapy.all import Ether

from lab import Appliance, Lab
from netns import veth, vlan_interface
from tools import Capture, is_record, ping_times, seconds_until_ping, timing, wait_until

FIRST, SECOND = "192.0.2.1", "203.0.113.1"


class TwoAddresses(Lab):
    """The server has eth1 in a second network, behind the WAN's router. Site B knows both of its addresses; site C is in the second
    network and knows that one, with a host on VLAN 10: `lab["c10"]`, 10.10.0.3."""

    def build(self):
        super().build()
        wan, c, host = self["wan"], self.namespace("c"), self.namespace("c10")
        veth(self["a"], "eth1", wan, "a2")
        veth(c, "eth0", wan, "c")
        wan.bridge("br1", "a2", "c")
        wan.address("br1", "203.0.113.254/24")
        for name, setting in (("wan", "ip_forward=1"), ("a", "conf.all.rp_filter=2"), ("a", "conf.eth1.rp_filter=2")):
            self[name].run("sysctl", "-qw", f"net.ipv4.{setting}")
        self["a"].address("eth1", f"{SECOND}/24")
        # What is asked at the second address is answered by eth1, whatever the best route of all is.
        self["a"].ip("rule", "add", "from", SECOND, "table", 2)
        self["a"].ip("route", "add", "default", "via", "203.0.113.254", "dev", "eth1", "table", 2)
        self["b"].ip("route", "add", "203.0.113.0/24", "via", "192.0.2.254")
        c.address("eth0", "203.0.113.3/24")
        veth(c, "lan0", host, "eth0")
        c.no_ipv6("lan0")
        host.address(vlan_interface(host, "eth0", 10, self.directory), "10.10.0.3/24")
        self.c = Appliance(self, "c")
        self.appliances.append(self.c)
        self.a.peers = 2
        self.another_site("branch-2")
        self.vlan_client(self.c, "branch-2", SECOND)
        text = self.a.config.read_text()
        second = '[[port]]\nname = "wan2"\nrole = "uplink"\ndevice = "kernel:eth1"\n\n[[segment]]\nname = "servers"'
        self.a.config.write_text(text.replace('[[segment]]\nname = "servers"', second, 1))
        text = self.b.config.read_text()
        servers = f'servers = ["{FIRST}", "{SECOND}"]\nconnect_timeout_ms = 1000\n'
        self.b.config.write_text(text.replace(f'server = "{FIRST}"\n', servers))


@pytest.fixture(scope="module")
def lab():
    with TwoAddresses() as lab:
        lab.start()
        yield lab


def ways(lab):
    """The server's uplink and address of each site's path by UDP."""
    sites = {site["site"]: site["paths"] for site in lab.a.show("service", "l2vpn")["sites"]}
    return {site: (paths[0]["uplink"], paths[0]["local"]) for site, paths in sites.items() if paths}


def test_each_client_is_answered_from_the_address_that_it_asked(lab, tmp_path):
    wanted = {"branch": ("wan", f"{FIRST}:443"), "branch-2": ("wan2", f"{SECOND}:443")}
    wait_until(lambda: ways(lab) == wanted, "the server knows both ways")
    pairs = (("a10", "10.10.0.2"), ("a10", "10.10.0.3"), ("b10", "10.10.0.3"))
    for host, address in pairs:
        assert seconds_until_ping(lab[host], address) < 10
    with Capture(lab["wan"], "a", tmp_path / "eth0.pcap") as first, Capture(lab["wan"], "a2", tmp_path / "eth1.pcap") as second:
        for host, address in pairs:
            assert len(ping_times(lab[host], address, count=3, size=1400)) == 3
    for capture, interface, own, peer in ((first, "eth0", FIRST, "192.0.2.2"), (second, "eth1", SECOND, "203.0.113.3")):
        server = bytes.fromhex(lab["a"].mac(interface).replace(":", ""))
        answers = [Ether(frame).payload for frame in capture.frames if is_record(frame) and frame[6:12] == server]
        assert len(answers) >= 6 and {(packet.src, packet.dst) for packet in answers} == {(own, peer)}


def test_an_uplink_dies_and_its_clients_come_by_the_other(lab):
    """A path ends at the address that its client connected to; the session is a new one, at the next of the client's `servers`."""
    with timing(lab["c10"], "10.10.0.1") as beside:
        lab["wan"].ip("link", "set", "dev", "a", "down")
        try:
            wait_until(lambda: ways(lab).get("branch") == ("wan2", f"{SECOND}:443"), "the client comes by the other address", 40)
            assert lab.b.show("service", "l2vpn")["sites"][0]["peer"] == f"{SECOND}:443"
            assert seconds_until_ping(lab["a10"], "10.10.0.2") < 10 and seconds_until_ping(lab["c10"], "10.10.0.2") < 10
        finally:
            lab["wan"].ip("link", "set", "dev", "a", "up")
    assert beside["gap"] < 2.0, "who is on the other uplink feels nothing"
