"""Loops of three kinds, made under traffic and mended again, and networks that give back what they get."""

import re
import subprocess
import time

import pytest
from scapy.all import Ether, Raw

from asking import segment_test
from hub import HubLab
from lab import Lab
from netns import reflect, stop_reflecting, veth, vlan_interface
from tools import Capture, inject, ping_times, pinging, seconds_until_ping

# Loops are storms, and the guard has tenths of a second to find them.
pytestmark = pytest.mark.alone

BROADCAST = "ff:ff:ff:ff:ff:ff"
SLACK = 1.5  # a busy machine


def wait(condition, timeout=15.0):
    """Waits until `condition()` is true; returns the seconds that took."""
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() < began + timeout, f"not within {timeout} s"
        time.sleep(0.02)
    return time.monotonic() - began


def loops(appliance):
    return appliance.show("loops")["loops"]


def blocked(appliance):
    return [found for found in loops(appliance) if found["state"] == "blocked"]


def found_at(appliance):
    """When an appliance found its only loop, by our clock: asked several times, since asking takes time."""

    def ask():
        [found] = loops(appliance)
        return time.monotonic() - found["since_s"]

    return min(ask() for _ in range(3))


def all_forward(*appliances):
    shown = [appliance.show("loops") for appliance in appliances]
    return all(not x["blocked"] and not x["listening"] and not x["loops"] for x in shown)


def cable(left, right, scratch, vlan=None):
    """A cable between the bridges of two networks, not yet plugged in. With `vlan`, frames carry that tag on the left and none
    on the right. Returns what plugs it in and pulls it out."""
    veth(left, "cable", right, "cable")
    left.ip("link", "set", "dev", "cable", "down")
    interface = vlan_interface(right, "cable", vlan, scratch) if vlan else "cable"
    left.ip("link", "set", "dev", "cable", "master", "br0")
    right.ip("link", "set", "dev", interface, "master", "br0")
    return lambda plugged: left.ip("link", "set", "dev", "cable", "up" if plugged else "down")


@pytest.fixture(scope="module")
def sites():
    """The two sites of the lab, whose segment "servers" a cable can join a second time."""
    with Lab() as lab:
        lab.plug = cable(lab["a-lan"], lab["vtep"], lab.directory, 10)
        lab.start()
        wait(lambda: all_forward(lab.a, lab.b))
        assert seconds_until_ping(lab["a10"], "10.10.0.2") < 10
        yield lab


def broadcasts(lab, text, count):
    """Host a10 sends to everybody."""
    interface = re.search(r"\d+: (\S+)\s+inet 10\.10\.", lab["a10"].run("ip", "-o", "-4", "address")).group(1)
    frame = Ether(src=lab["a10"].mac("eth0"), dst=BROADCAST) / Raw(text * 4)
    inject(lab["a10"], interface, [frame] * count)


def test_a_cable_between_two_sites_is_found_under_traffic_and_named_at_both_ends(sites, tmp_path):
    with pinging(sites["a10"], "10.10.0.2", 0.01), Capture(sites["a-lan"], "trunk", tmp_path / "loop.pcap", "ether broadcast") as during:
        sites.plug(True)
        plugged = time.monotonic()
        broadcasts(sites, b"goes round", 3)
        wait(lambda: blocked(sites.b))
        assert found_at(sites.b) - plugged < 1.0 + SLACK
        time.sleep(0.2)
    assert len(during.frames) < 20_000, "no storm"
    [found] = blocked(sites.b)
    assert found["segment"] == "servers" and found["attachment"].startswith("underlay VNI 5010")
    assert found["through"] == "server trunk0 VLAN 10" and found["broken_by"] == "us"
    wait(lambda: [x["broken_by"] for x in loops(sites.a)] == ["other end"])
    [other] = loops(sites.a)
    assert other["through"] == "branch underlay VNI 5010" and other["state"] == "forwarding"
    assert not blocked(sites.a), "one end blocks, not both"
    assert sites.b.log().count("a loop: the attachment is blocked") == 1
    assert "voice" not in [x["segment"] for x in loops(sites.a) + loops(sites.b)]
    assert len(ping_times(sites["a11"], "10.11.0.2")) == 5, "the other segment is not concerned"


def test_what_is_blocked_passes_nothing_twice(sites, tmp_path):
    """The cable carries the traffic now; a broadcast arrives once, and the line is quiet."""
    with Capture(sites["b10"], "eth0", tmp_path / "once.pcap") as at_b, Capture(sites["a10"], "eth0", tmp_path / "back.pcap") as at_a:
        broadcasts(sites, b"arrives once", 5)
        at_b.wait(b"arrives once", 5)
        time.sleep(0.5)  # what comes twice comes soon after
    assert len(at_b.having(b"arrives once")) == 5
    assert len(at_a.having(b"arrives once")) == 5, "those that it sent, and nothing that comes back"
    assert len(at_b.frames) < 100
    assert sites.b.drops()["loop_blocked"] > 0
    found = {finding["code"]: finding for finding in segment_test(sites.a, "servers")["findings"]}
    assert "at site branch: underlay VNI 5010 is blocked" in found["attachment_blocked"]["text"], "the self-test knows, at the other end too"
    assert seconds_until_ping(sites["a10"], "10.10.0.2") < 10


def test_without_the_cable_it_forwards_again_by_itself(sites):
    sites.plug(False)
    assert wait(lambda: all_forward(sites.a, sites.b), 30) > 2
    assert seconds_until_ping(sites["a10"], "10.10.0.2") < 10
    assert len(ping_times(sites["a10"], "10.10.0.2", count=10)) == 10
    assert "the loop is gone" in sites.b.log()


def test_the_host_whose_frames_go_round_is_named_at_both_ends_and_in_their_logs(sites):
    """A host that sends to everybody all the time. A loop that is broken before anything of it went round has nobody to name."""
    host = sites["a10"].mac("eth0")
    before = [len(appliance.log()) for appliance in (sites.a, sites.b)]
    talking = sites["a10"].popen("ping", "-n", "-b", "-i", "0.02", "10.10.0.255", stdout=subprocess.DEVNULL)
    try:
        for _ in range(5):
            sites.plug(True)
            wait(lambda: blocked(sites.b))
            wait(lambda: [x["broken_by"] for x in loops(sites.a)] == ["other end"])
            named = [[x["mac"] for x in loops(appliance)] for appliance in (sites.a, sites.b)]
            if named != [[None], [None]]:
                break
            sites.plug(False)
            wait(lambda: all_forward(sites.a, sites.b), 60)
    finally:
        talking.terminate()
        talking.wait()
        sites.plug(False)
    assert named == [[host], [host]]
    told = ("a loop: it is broken at the other end", "a loop: the attachment is blocked")
    for appliance, length, text in zip((sites.a, sites.b), before, told):
        lines = [line for line in appliance.log()[length:].splitlines() if text in line]
        assert lines and host in lines[-1], lines
    wait(lambda: all_forward(sites.a, sites.b), 60)


def test_a_loop_that_is_there_before_the_session_gets_no_frame(sites, tmp_path):
    sites.b.stop()
    sites.plug(True)
    try:
        with Capture(sites["a10"], "eth0", tmp_path / "start.pcap") as back:
            sites.b.start()
            sites.wait_up()
            for _ in range(20):
                broadcasts(sites, b"before all", 1)
                time.sleep(0.05)
        assert blocked(sites.b)
        assert len(back.having(b"before all")) == 20, "those that it sent"
    finally:
        sites.plug(False)
    wait(lambda: all_forward(sites.a, sites.b), 30)


def test_a_network_that_reflects_makes_no_duplicates(sites):
    """What A sends to its trunk comes back at once. No ping is lost or answered twice, and addresses stay where they are."""
    reflect(sites["a-lan"], "trunk", sites.directory)
    try:
        # Each attachment notices in its own turn.
        wait(lambda: sites.a.show("loops")["reflecting"] == ["trunk0 VLAN 10", "trunk0 VLAN 11"])
        sites["a10"].ip("neigh", "flush", "all")
        output = sites["a10"].run("ping", "-n", "-c", 20, "-i", "0.2", "-W", "1", "10.10.0.2")
        assert "DUP" not in output and "20 received" in output, output
        output = sites["b10"].run("ping", "-n", "-c", 20, "-i", "0.2", "-W", "1", "10.10.0.1")
        assert "DUP" not in output and "20 received" in output, output
        assert sites.a.show("loops")["reflecting"] == ["trunk0 VLAN 10", "trunk0 VLAN 11"]
        assert sites.a.drops()["reflected"] > 20
        assert sites.a.macs()["servers", sites["b10"].mac("eth0")] == "site branch"
        assert "our own frames come back" in sites.a.log()
        assert not blocked(sites.a) and not blocked(sites.b)
    finally:
        stop_reflecting(sites["a-lan"], "trunk")


@pytest.fixture
def two_ports():
    """Segment "servers" meets two trunk ports of A."""
    with Lab() as lab:
        second = lab.namespace("a-lan2")
        veth(lab["a"], "lan2", second, "trunk")
        lab["a"].no_ipv6("lan2")
        second.bridge("br0", "trunk")
        text = lab.a.config.read_text().replace("vlan = 10\n", 'vlan = 10\n[[segment.attachment]]\nport = "trunk2"\nuntagged = true\n')
        port = '[[port]]\nname = "trunk2"\nrole = "trunk"\ndevice = "kernel:lan2"\n\n'
        lab.a.config.write_text(text.replace('[[port]]\nname = "wan"', port + '[[port]]\nname = "wan"'))
        lab.plug = cable(lab["a-lan"], second, lab.directory, 10)
        lab.start()
        yield lab


def test_two_attachments_that_are_joined(two_ports):
    lab = two_ports
    wait(lambda: all_forward(lab.a))
    assert seconds_until_ping(lab["a10"], "10.10.0.2") < 10
    lab.plug(True)
    plugged = time.monotonic()
    broadcasts(lab, b"round and round", 3)
    wait(lambda: blocked(lab.a))
    assert found_at(lab.a) - plugged < 1.0 + SLACK
    [found] = blocked(lab.a)
    assert (found["attachment"], found["through"], found["kind"]) == ("trunk2 untagged", "trunk0 VLAN 10", "attachment")
    assert seconds_until_ping(lab["a10"], "10.10.0.2") < 10, "the first attachment goes on"
    assert not blocked(lab.b)
    lab.plug(False)
    wait(lambda: all_forward(lab.a), 30)


def test_two_spokes_joined_behind_the_hub(tmp_path):
    """The hub sees it too; of two clients the one whose name comes later breaks it."""
    with HubLab() as lab:
        plug = cable(lab["s1-lan"], lab["s3-lan"], lab.directory, 110)
        lab.start(timeout=30)
        wait(lambda: all_forward(*lab.appliances))
        address = lab.hosts["servers"]["s3-servers"]
        seconds_until_ping(lab["hub-servers"], address)
        plug(True)
        plugged = time.monotonic()
        wait(lambda: blocked(lab.spokes["s3"]))
        assert found_at(lab.spokes["s3"]) - plugged < 1.0 + SLACK
        assert not blocked(lab.spokes["s1"]) and not blocked(lab.hub)
        [found] = blocked(lab.spokes["s3"])
        assert found["through"] == "s1 trunk0 VLAN 110"
        wait(lambda: [x["through"] for x in loops(lab.spokes["s1"])] == ["s3 trunk0 untagged"])
        passing = {x["origin"] for x in lab.hub.show("loops")["passing"]}
        assert passing == {"s1", "s3"}
        assert seconds_until_ping(lab["hub-servers"], address) < 10, "through the other spoke"
        plug(False)
        wait(lambda: all_forward(*lab.appliances), 30)
        assert seconds_until_ping(lab["hub-servers"], address) < 10
        assert re.search("a loop: the attachment is blocked", lab.spokes["s3"].log())
