"""ARP and neighbour discovery answered by the appliances, and hosts that are silent."""

import re
import time

import pytest
from scapy.all import ARP, Ether, ICMPv6ND_NS, IPv6

from lab import Lab
from test_gateway import in_segment, interfaces
from tools import Capture, inject, ping_times, seconds_until_ping

A, B = "10.10.0.1", "10.10.0.2"
A6, B6 = "fd10::1", "fd10::2"
BROADCAST = "ff:ff:ff:ff:ff:ff"
AGE = 10  # seconds, the least that the configuration takes


def wait(condition, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def quiet():
    """Segment "servers" suppresses at both ends; unknown unicast goes nowhere."""
    with Lab() as lab:
        for appliance in (lab.a, lab.b):
            in_segment(appliance, "servers", 'arp_suppression = true\nunknown_unicast = "drop"\n')
            text = appliance.config.read_text()
            appliance.config.write_text(text.replace("[system]\n", f"[system]\nmac_age_s = {AGE}\n"))
        lab["a10"].address(interfaces(lab["a10"])[0], f"{A6}/64")
        lab["b10"].address("eth0", f"{B6}/64")
        lab.start()
        for address in (B, B6):
            assert seconds_until_ping(lab["a10"], address) < 10
        yield lab


def neighbours(appliance):
    return {entry["address"]: entry for entry in appliance.show("neighbours")["entries"]}


def requests(capture, address):
    """ARP requests and solicitations for an address that went to everybody."""
    asks = []
    for frame in map(Ether, capture.frames):
        if frame.haslayer(ARP) and frame[ARP].op == 1 and frame[ARP].pdst == address:
            asks.append(frame)
        if frame.haslayer(ICMPv6ND_NS) and frame[ICMPv6ND_NS].tgt == address:
            asks.append(frame)
    return [frame for frame in asks if int(frame.dst[:2], 16) & 1]


@pytest.mark.parametrize("address", [B, B6])
def test_known_hosts_are_answered_for(quiet, address, tmp_path):
    assert ping_times(quiet["a10"], address, count=1)
    wait(lambda: address in neighbours(quiet.a))
    with Capture(quiet["b10"], "eth0", tmp_path / "asks.pcap", "arp or icmp6") as capture:
        for _ in range(5):
            quiet["a10"].ip("neigh", "flush", "all")
            assert len(ping_times(quiet["a10"], address, count=2)) == 2
    assert requests(capture, address) == []
    assert quiet["b10"].mac("eth0") in quiet["a10"].run("ip", "neigh", "show", address)
    shown = quiet.a.show("neighbours")
    assert shown["answered"] >= 5
    entry = neighbours(quiet.a)[address]
    assert (entry["segment"], entry["mac"], entry["where"]) == ("servers", quiet["b10"].mac("eth0"), "site branch")
    assert quiet.a.drops()["neighbour_held"] > 0


def test_who_is_not_known_is_asked_for_everywhere(quiet, tmp_path):
    with Capture(quiet["b10"], "eth0", tmp_path / "unknown.pcap", "arp") as capture:
        ping_times(quiet["a10"], "10.10.0.99", count=1)
    assert requests(capture, "10.10.0.99")


def test_tests_for_duplicates_and_announcements_pass(quiet, tmp_path):
    """A host that makes sure of an address is heard by its owner, whoever knows of it; so is one that announces itself."""
    interface = interfaces(quiet["a10"])[0]
    mac = quiet["a10"].mac("eth0")
    probe = Ether(src=mac, dst=BROADCAST) / ARP(op=1, hwsrc=mac, psrc="0.0.0.0", pdst=B)
    gratuitous = Ether(src=mac, dst=BROADCAST) / ARP(op=1, hwsrc=mac, psrc=A, pdst=A)
    dad = (Ether(src=mac, dst="33:33:ff:00:00:02") / IPv6(src="::", dst="ff02::1:ff00:2", hlim=255) / ICMPv6ND_NS(tgt=B6))
    with Capture(quiet["b10"], "eth0", tmp_path / "dad.pcap", "arp or icmp6") as capture:
        inject(quiet["a10"], interface, [probe, gratuitous, dad])
        time.sleep(0.5)
    arps = [(frame[ARP].psrc, frame[ARP].pdst) for frame in map(Ether, capture.frames) if frame.haslayer(ARP)]
    assert ("0.0.0.0", B) in arps and (A, A) in arps
    assert any(frame.haslayer(ICMPv6ND_NS) and frame[IPv6].src == "::" for frame in map(Ether, capture.frames))


def test_silent_hosts_stay_known(quiet, tmp_path):
    """Nobody says anything for longer than addresses are remembered: those of the segment are asked, and stay."""
    silent = "02:00:00:00:00:99"  # nobody answers for this one
    inject(quiet["a10"], interfaces(quiet["a10"])[0],
           [Ether(src=silent, dst=BROADCAST) / ARP(op=2, hwsrc=silent, psrc="10.10.0.98", pdst="10.10.0.98")])
    wait(lambda: ("servers", silent) in quiet.a.macs())
    with Capture(quiet["b10"], "eth0", tmp_path / "asked.pcap", "arp or icmp6") as capture:
        wait(lambda: ("servers", silent) not in quiet.a.macs(), 4 * AGE)
    assert ("servers", quiet["b10"].mac("eth0")) in quiet.a.macs()
    assert ("servers", quiet["b10"].mac("eth0")) in quiet.b.macs()
    assert "10.10.0.98" not in neighbours(quiet.a) or neighbours(quiet.a)["10.10.0.98"]["age_s"] >= 0
    asked = [frame for frame in map(Ether, capture.frames) if frame.haslayer(ARP) and frame[ARP].psrc == "0.0.0.0"]
    assert asked and all(frame.dst == quiet["b10"].mac("eth0") for frame in asked), "each by itself"
    assert quiet.b.show("neighbours")["asked"] > 0
    assert len(ping_times(quiet["a10"], B, count=3)) == 3, "though unknown unicast is dropped"


def test_unknown_unicast_goes_nowhere(quiet, tmp_path):
    frame = Ether(src=quiet["a10"].mac("eth0"), dst="02:00:00:00:0b:ad") / (b"to nobody at all" * 4)
    before = quiet.a.drops()["unknown_unicast"]
    with Capture(quiet["b10"], "eth0", tmp_path / "unknown.pcap") as capture:
        inject(quiet["a10"], interfaces(quiet["a10"])[0], [frame] * 5)
        time.sleep(0.5)
    assert not capture.having(b"to nobody at all")
    assert quiet.a.drops()["unknown_unicast"] >= before + 5


def test_neighbours_can_be_forgotten(quiet):
    ping_times(quiet["a10"], B, count=1)
    wait(lambda: B in neighbours(quiet.a))
    said = quiet["a"].run(quiet.binary, "clear", "neighbours", "--socket", quiet.a.socket)
    assert re.search(r"\d+ neighbours", said)
    assert len(ping_times(quiet["a10"], B, count=3)) == 3
