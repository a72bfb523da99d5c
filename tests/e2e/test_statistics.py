"""Statistics under NSX's names, and the last frames that were dropped."""

import time

import pytest
from scapy.all import ARP, IP, UDP, Dot1Q, Ether, Raw

from lab import Lab
from tools import inject, ping_times

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
    whole = statistics(lab.a)
    assert whole["serverStatus"] == "UP" and whole["lastUpdatedTime"].endswith("Z")
    site = statistics(lab.a, "site", "branch")
    assert site.keys() == whole["sites"][0].keys()
    assert site["tunnelStatus"] == "UP" and site["failureMessage"] is None and site["encryptionAlgorithm"] == "aes-128-gcm"
    assert site["establishedDate"] <= site["lastUpdatedTime"]
    assert site["txPackets"] >= 8 and site["txBytesFromLocalSubnet"] > 500
    segment = statistics(lab.a, "segment", "servers")
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
    with pytest.raises(Exception, match="no drop reason"):
        lab.a.show("drops", "bad-luck")
