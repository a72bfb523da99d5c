"""Statistics under NSX's names, and the last frames that were dropped."""

import contextlib
import time

import pytest
from scapy.all import ARP, IP, TCP, UDP, Dot1Q, Ether, Raw

from lab import Lab
from tools import inject, ping_times, wait_until

FOREIGN = Ether(src="02:00:00:00:00:71", dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=77) / ARP(psrc="10.77.0.1", pdst="10.77.0.2")


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        lab.start()
        yield lab


def statistics(appliance, *words):
    return appliance.show("service", "l2vpn", "statistics", *words)


def test_sites_and_segments_have_what_nsx_shows(lab):
    assert len(ping_times(lab["a10"], "10.10.0.2")) == 5
    flood = [Ether(src="02:00:00:00:00:72", dst=dst) / Dot1Q(vlan=10) / IP(dst="10.10.0.9") / UDP() / Raw(b"x" * 30)
             for dst in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05", "02:00:00:00:00:99")]
    before = statistics(lab.b, "segment", "servers")
    inject(lab["a-lan"], "trunk", flood)
    time.sleep(0.3)
    # Before the site, which counts as much and more.
    segment = statistics(lab.a, "segment", "servers")
    whole = statistics(lab.a)
    assert whole["serverStatus"] == "UP" and whole["lastUpdatedTime"].endswith("Z")
    site = statistics(lab.a, "site", "branch")
    assert site.keys() == whole["sites"][0].keys()
    assert site["tunnelStatus"] == "UP" and site["failureMessage"] is None and site["encryptionAlgorithm"] == "aes-128-gcm"
    assert site["establishedDate"] <= site["lastUpdatedTime"]
    assert site["txPackets"] >= 8 and site["txBytesFromLocalSubnet"] > 500
    assert 8 <= segment["txPackets"] <= min(segment["localPackets"], site["txPackets"])
    assert min(segment[f"tx{kind}"] for kind in ("Broadcast", "Multicast", "UnknownUnicast")) >= 1
    after = statistics(lab.b, "segment", "servers")
    for kind in ("Broadcast", "Multicast", "UnknownUnicast"):
        assert after[f"rx{kind}"] > before[f"rx{kind}"]
    assert after["checksumsWrong"] == 0
    with pytest.raises(Exception, match='no segment "nowhere"'):
        statistics(lab.a, "segment", "nowhere")


def test_a_site_that_is_down_says_why(lab):
    lab.b.stop()
    deadline = time.monotonic() + 10
    while (site := statistics(lab.a, "site", "branch"))["tunnelStatus"] == "UP" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert site["tunnelStatus"] == "DOWN" and "shutting down" in site["failureMessage"]
    assert site["establishedDate"] is None
    lab.start()


def test_the_last_frames_that_were_dropped_are_shown(lab):
    inject(lab["a-lan"], "trunk", [FOREIGN] * 3)
    time.sleep(0.3)
    drops = {drop["reason"]: drop for drop in lab.a.show("drops")["drops"]}
    drop = drops["unknown_vlan"]
    assert drop["count"] >= 3 and 1 <= len(drop["last"]) <= 4
    last = drop["last"][0]
    assert last["port"] == "trunk0" and last["ago_s"] < 30
    assert bytes.fromhex(last["octets"]) == bytes(FOREIGN)
    assert "02:00:00:00:00:71 > ff:ff:ff:ff:ff:ff vlan 77 arp 10.77.0.1 > 10.77.0.2" in last["summary"]
    assert lab.a.show("drops", "runt")["drops"][0]["count"] == 0
    with pytest.raises(Exception, match="is not a reason for drops"):
        lab.a.show("drops", "bad-luck")


def counted(lab, appliance, key, frames, least=1, send=None):
    """Sends frames from A's trunk until `key` of segment "servers" has grown."""
    before = statistics(appliance, "segment", "servers")[key]
    send = send or (lambda: inject(lab["a-lan"], "trunk", frames))

    def grown():
        send()
        time.sleep(0.2)
        return statistics(appliance, "segment", "servers")[key] >= before + least

    wait_until(grown, f"{key} is counted", 30)


@contextlib.contextmanager
def configured(lab, line):
    """Segment "servers" has this line at A."""
    text = lab.a.config.read_text()
    try:
        lab.a.config.write_text(text.replace("tunnel_id = 10\n", f"tunnel_id = 10\n{line}\n"))
        lab["a"].run(lab.binary, "reload", "--socket", lab.a.socket)
        yield
    finally:
        lab.a.config.write_text(text)
        lab["a"].run(lab.binary, "reload", "--socket", lab.a.socket)


def vlan10(src, dst):
    return Ether(src=src, dst=dst) / Dot1Q(vlan=10)


def test_each_of_nsx_s_counters_counts_what_it_is_for(lab):
    first, second, everybody = "02:00:00:00:00:81", "02:00:00:00:00:82", "ff:ff:ff:ff:ff:ff"
    packet = IP(src="10.10.0.81", dst="10.10.0.82") / UDP() / Raw(b"x" * 30)
    counted(lab, lab.a, "malformed", [vlan10("01:00:5e:00:00:09", everybody) / packet])
    with configured(lab, 'unknown_unicast = "drop"'):
        counted(lab, lab.a, "noMatch", [vlan10(first, second) / packet])

    def syn(mss):
        return vlan10(first, everybody) / IP(src="10.10.0.81", dst="10.10.0.2") / TCP(flags="S", options=[("MSS", mss)])

    counted(lab, lab.a, "mssAdjusted", [syn(8960)])
    counted(lab, lab.a, "mssIgnored", [syn(536)])
    assert statistics(lab.a, "segment", "servers")["noMemory"] == 0, "there is memory enough"


def test_what_comes_out_of_the_tunnel_is_counted_for_its_site_and_the_service(lab):
    before = statistics(lab.a, "site", "branch")
    assert len(ping_times(lab["a10"], "10.10.0.2")) == 5
    whole = statistics(lab.a)
    (site,) = whole["sites"]
    assert site["rxBytesOnLocalSubnet"] >= before["rxBytesOnLocalSubnet"] + 5 * 98
    assert site["rxPackets"] >= before["rxPackets"] + 5
    counts = {key: value for key, value in site.items() if isinstance(value, int)}
    assert whole["totals"] == counts and counts.keys() >= {"txPackets", "droppedTxPackets", "droppedRxPackets", "rxBroadcast"}


def test_what_the_uplink_does_not_take_is_dropped_for_its_site(lab):
    """A line of 1 Mbit/s that holds five packets gets a hundred at once."""
    frames = [vlan10("02:00:00:00:00:91", "ff:ff:ff:ff:ff:ff") / Raw(b"x" * 1000)] * 100
    before, full = statistics(lab.a, "site", "branch")["droppedTxPackets"], lab.a.drops()["tx_queue_full"]
    lab["a"].run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "2000", "limit", "8000")
    try:
        def dropped():
            inject(lab["a-lan"], "trunk", frames)
            time.sleep(0.3)  # the line has time for the session's own
            return statistics(lab.a, "site", "branch")["droppedTxPackets"] > before

        wait_until(dropped, "frames are dropped", 30)
    finally:
        lab["a"].run("tc", "qdisc", "del", "dev", "eth0", "root")
    assert lab.a.drops()["tx_queue_full"] > full
    assert statistics(lab.a)["totals"]["droppedTxPackets"] > before
    lab.wait_up()


def test_questions_that_are_answered_here_are_counted(lab):
    with configured(lab, "arp_suppression = true"):
        assert len(ping_times(lab["b10"], "10.10.0.1", count=2)) == 2, "b10 tells who it is"

        def ask():
            lab["a10"].ip("neigh", "flush", "all")
            lab["b10"].ip("neigh", "flush", "all")
            ping_times(lab["b10"], "10.10.0.1", count=1)
            ping_times(lab["a10"], "10.10.0.2", count=1)

        counted(lab, lab.a, "arpRequestFilter", None, send=ask)


def test_an_address_at_two_places_is_a_loop_s_sign(lab):
    """The same address at A and at B in turn: after five moves it is pinned, and frames from the other place are dropped."""
    twin = "02:00:00:00:00:83"
    at_a = [Ether(src=twin, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=10) / ARP(psrc="10.10.0.83", pdst="10.10.0.84")]
    at_b = [Ether(src=twin, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.10.0.83", pdst="10.10.0.84")]
    counts = lambda: sum(statistics(appliance, "segment", "servers")["l2Loop"] for appliance in (lab.a, lab.b))
    before = counts()

    def both():
        for _ in range(4):
            inject(lab["a-lan"], "trunk", at_a)
            time.sleep(0.05)
            inject(lab["b10"], "eth0", at_b)
            time.sleep(0.05)
        return counts() > before

    wait_until(both, "the address is pinned", 60)


def test_what_comes_out_of_the_tunnel_and_goes_no_further_is_counted(lab):
    """A has learned where the host is: behind the site that the frame comes from, which has forgotten it."""
    lost, asker = "02:00:00:00:00:85", "02:00:00:00:00:86"
    payload = IP(src="10.10.0.86", dst="10.10.0.85") / UDP() / Raw(b"x" * 30)
    before = statistics(lab.a, "site", "branch")["droppedRxPackets"]

    def dropped():
        inject(lab["b10"], "eth0", [Ether(src=lost, dst="ff:ff:ff:ff:ff:ff") / payload])
        time.sleep(0.2)
        lab["b"].run(lab.binary, "clear", "mac-table", "mac", lost, "--socket", lab.b.socket)
        lab["vtep"].run("bridge", "fdb", "del", lost, "dev", "host10", "master", check=False)
        inject(lab["b10"], "eth0", [Ether(src=asker, dst=lost) / payload])
        time.sleep(0.2)
        return statistics(lab.a, "site", "branch")["droppedRxPackets"] > before

    wait_until(dropped, "a frame from the site is dropped", 30)
