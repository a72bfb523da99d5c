"""Addresses that change in mid-session: by DHCP, by a NAT, by a route; and those that are forged."""

import contextlib
import time

import pytest
from scapy.all import IP, Ether

from lab import Lab
from netns import veth
from tools import Capture, inject, is_record, ping_times, seconds_until_ping, timing, wait_until

STRANGER = "192.0.2.66"


def session(appliance):
    return appliance.show("service", "l2vpn")["sites"][0]


@contextlib.contextmanager
def one_session(lab):
    """The session that is up when the block begins is up when it ends, and has never been down."""
    up, began = session(lab.b)["up_s"], time.monotonic()
    yield
    for appliance in (lab.a, lab.b):
        assert session(appliance)["state"] == "up"
    ended = time.monotonic()
    assert session(lab.b)["up_s"] >= up + ended - began - 0.5, lab.b.log()[-2000:]


def peer_is(lab, address):
    wait_until(lambda: session(lab.a)["peer"].startswith(address), f"the server follows to {address}")


def test_the_clients_address_is_replaced(lab):
    """As a DHCP client does it that got another lease."""
    b = lab["b"]
    with one_session(lab), timing(lab["a10"], "10.10.0.2") as pings:
        time.sleep(0.5)
        b.run("sh", "-c", "ip address del 192.0.2.2/24 dev eth0; ip address add 192.0.2.7/24 dev eth0")
        peer_is(lab, "192.0.2.7:")
        time.sleep(0.5)
        b.run("sh", "-c", "ip address del 192.0.2.7/24 dev eth0; ip address add 192.0.2.2/24 dev eth0")
        peer_is(lab, "192.0.2.2:")
        time.sleep(0.5)
    assert pings["gap"] < 2.0, pings


def test_a_record_from_elsewhere_moves_nothing(lab):
    """Replayed records are dropped, and one that has not arrived yet moves the session no more than a copy does."""
    ours, theirs = lab["a"].mac("eth0"), lab["b"].mac("eth0")

    def to_the_server(frames):
        packets = [Ether(frame) for frame in frames if is_record(frame) and len(frame) <= 1514]
        return [packet for packet in packets if packet.dst == ours and packet[IP].src == "192.0.2.2"]

    def from_the_stranger(packets):
        forged = []
        for packet in packets:
            packet = packet.copy()
            packet[IP].src = STRANGER
            del packet[IP].chksum
            forged.append(bytes(packet))
        return forged

    # Each record by itself, so that its size can be seen. Somebody is there whom an answer would reach.
    lab.wan_like_a_wire()
    lab["wan"].address("br0", f"{STRANGER}/24")
    peer = session(lab.a)["peer"]
    with one_session(lab):
        with Capture(lab["wan"], "b", lab.directory / "seen.pcap") as capture:
            assert len(ping_times(lab["a10"], "10.10.0.2", count=5)) == 5
        seen = to_the_server(capture.frames)
        replayed = lab.a.drops()["replayed"]
        inject(lab["wan"], "a", from_the_stranger(seen))
        wait_until(lambda: lab.a.drops()["replayed"] >= replayed + len(seen), "copies are counted")
        assert session(lab.a)["peer"] == peer

        # The stranger holds records back, and passes them on from his own address: they are authentic and new.
        lab["wan"].run("nft", "add table bridge held; add chain bridge held way { type filter hook forward priority 0; }; "
                              f"add rule bridge held way iifname b ether saddr {theirs} udp dport 443 drop")
        try:
            with Capture(lab["wan"], "b", lab.directory / "held.pcap") as capture:
                ping_times(lab["b10"], "10.10.0.1", count=20)
            held = to_the_server(capture.frames)
            assert len(held) >= 20
            with Capture(lab["wan"], "a", lab.directory / "answers.pcap") as answers:
                # The first make the server ask the kernel for the way to him.
                for first in range(0, len(held), 3):
                    inject(lab["wan"], "a", from_the_stranger(held[first:first + 3]))
                    time.sleep(0.2)
        finally:
            lab["wan"].run("nft", "delete table bridge held")
        challenges = [frame for frame in answers.frames if is_record(frame) and Ether(frame)[IP].dst == STRANGER]
        assert challenges, "the stranger is asked for a proof"
        assert all(len(frame) < 120 for frame in challenges), "and gets no frame"
        assert session(lab.a)["peer"] == peer
        assert len(ping_times(lab["a10"], "10.10.0.2", count=3)) == 3
        assert session(lab.a)["peer"] == peer
    lab["wan"].ip("address", "del", f"{STRANGER}/24", "dev", "br0")


@pytest.mark.parametrize("family, second", (("ipv4", "192.0.2.11"), ("ipv6", "fd00::11")))
def test_the_server_answers_from_the_address_that_it_was_asked_at(family, second):
    """A server with two addresses on its uplink: the kernel would choose the first."""
    with Lab(wan=family) as lab:
        lab["a"].address("eth0", f"{second}/{64 if ':' in second else 24}")
        text = lab.b.config.read_text()
        first = "192.0.2.1" if family == "ipv4" else "fd00::1"
        lab.b.config.write_text(text.replace(f'server = "{first}"', f'server = "{second}"'))
        with Capture(lab["wan"], "b", lab.directory / "wan.pcap") as capture:
            lab.start()
            assert len(ping_times(lab["a10"], "10.10.0.2", count=3)) == 3
        wanted = f"[{second}]:443" if family == "ipv6" else f"{second}:443"
        assert session(lab.b)["peer"] == wanted
        assert session(lab.a)["paths"][0]["local"] == wanted
        server = bytes.fromhex(lab["a"].mac("eth0").replace(":", ""))
        packets = [Ether(frame) for frame in capture.frames if is_record(frame) and frame[6:12] == server]
        assert packets and all(packet.payload.src == second for packet in packets)


@pytest.mark.parametrize("site, role, interface, switch, cable", [
    ("a", "trunk", "lan0", "a-lan", "trunk"), ("b", "uplink", "eth0", "wan", "b")])
def test_an_interface_that_is_removed_and_made_anew(lab, tmp_path, site, role, interface, switch, cable):
    """As a bond or a VLAN is by `ifdown` and `ifup`: the same name, another interface, another MAC address."""
    appliance = getattr(lab, site)

    def port():
        return next(port for port in appliance.show("ports")["ports"] if port["role"] == role)

    before = port()
    assert before["link"] == "up"
    lab[site].ip("link", "del", "dev", interface)
    wait_until(lambda: port()["link"] == "down", "a port without an interface is down", 30)
    wait_until(lambda: "its interface is gone" in appliance.log(), "and why is told", 30)
    veth(lab[site], interface, lab[switch], cable)
    lab[switch].ip("link", "set", "dev", cable, "master", "br0")
    if role == "uplink":
        # Without an address for a while: nobody is to be asked for in the name of another interface's.
        with Capture(lab["wan"], "b", tmp_path / "arp.pcap", "arp") as capture:
            time.sleep(2)
            lab[site].address(interface, "192.0.2.2/24")
        assert all(Ether(frame).psrc.startswith("192.0.2.") for frame in capture.frames), capture.frames
    wait_until(lambda: port()["link"] == "up" and port()["mac"] == lab[site].mac(interface), "the port is up again", 30)
    assert port()["mac"] != before["mac"]
    for host, address in (("a10", "10.10.0.2"), ("b11", "10.11.0.1")):
        assert seconds_until_ping(lab[host], address, timeout=60) < 60


class BehindNat(Lab):
    """The client's network has two routers, each of which puts its own address in the place of the client's."""

    def build(self):
        super().build()
        inside = self.namespace("inside")
        self["b"].ip("address", "flush", "dev", "eth0")
        self["b"].ip("link", "delete", "dev", "eth0")
        veth(self["b"], "eth0", inside, "b")
        self["b"].address("eth0", "10.99.0.2/24")
        ports = ["b"]
        for number in (1, 2):
            router = self.namespace(f"nat{number}")
            veth(router, "in", inside, f"nat{number}")
            veth(router, "out", self["wan"], f"nat{number}")
            self["wan"].ip("link", "set", "dev", f"nat{number}", "master", "br0")
            ports.append(f"nat{number}")
            router.address("in", f"10.99.0.{10 + number}/24")
            router.address("out", f"192.0.2.{10 + number}/24")
            router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            self.translate(number, 20_000)
        inside.bridge("br0", *ports)
        self["b"].ip("route", "add", "default", "via", "10.99.0.11")

    def translate(self, number, first_port):
        """From now on the router gives new connections ports from there on."""
        router = self[f"nat{number}"]
        router.run("nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; "
                          "flush chain ip nat out; "
                          f"add rule ip nat out oifname out udp dport 443 masquerade to :{first_port}-{first_port + 99}; "
                          "add rule ip nat out oifname out masquerade")


@pytest.fixture(scope="module")
def behind_nat():
    with BehindNat() as lab:
        lab.start()
        yield lab


def port_of(lab):
    return int(session(lab.a)["peer"].rsplit(":", 1)[1])


def test_the_nat_gives_the_client_another_port(behind_nat):
    lab = behind_nat
    peer_is(lab, "192.0.2.11:")
    assert 20_000 <= port_of(lab) < 20_100
    with one_session(lab), timing(lab["a10"], "10.10.0.2") as pings:
        time.sleep(0.3)
        lab.translate(1, 30_000)
        lab["nat1"].run("conntrack", "-D", "-p", "udp")
        wait_until(lambda: 30_000 <= port_of(lab) < 30_100, "the server follows to the new port")
        time.sleep(0.3)
    # Until the client's next record goes out; it answers pings only when they reach it.
    assert pings["gap"] < 3.0, pings


def test_the_route_changes(behind_nat):
    lab = behind_nat
    with one_session(lab), timing(lab["b10"], "10.10.0.1") as pings:
        time.sleep(0.3)
        lab["b"].ip("route", "replace", "default", "via", "10.99.0.12")
        peer_is(lab, "192.0.2.12:")
        lab["nat1"].ip("link", "set", "dev", "in", "down")
        time.sleep(0.5)
    assert pings["gap"] < 2.0, pings
    lab["nat1"].ip("link", "set", "dev", "in", "up")


def test_the_router_gets_another_mac_address(behind_nat):
    lab = behind_nat
    with one_session(lab), timing(lab["b10"], "10.10.0.1") as pings:
        lab["b"].ip("route", "replace", "default", "via", "10.99.0.12")
        time.sleep(0.3)
        # As a pair of routers does it when the other takes over: the address goes to another MAC and is announced.
        router = lab["nat2"]
        router.ip("link", "set", "dev", "in", "down")
        router.ip("link", "set", "dev", "in", "address", "02:00:00:00:99:12")
        router.ip("link", "set", "dev", "in", "up")
        router.run("arping", "-q", "-U", "-c", 1, "-I", "in", "10.99.0.12", check=False)
        lab["b"].ip("neighbour", "replace", "10.99.0.12", "lladdr", "02:00:00:00:99:12", "dev", "eth0", "nud", "reachable")
        time.sleep(1)
    assert pings["gap"] < 2.0, pings
