"""A hub, four spokes, ten segments of mixed kinds, all at once."""

import contextlib
import itertools
import pathlib
import re
import subprocess
import time

import pytest
from scapy.all import Ether, Raw

from asking import segment_test
from hub import GATEWAY, SEGMENTS, HubLab
from netns import sh
from tools import Capture, inject, iperf, ping_times, pinging, seconds_until_ping, vlan_of, wait_until


@pytest.fixture(scope="module")
def hub():
    with HubLab() as lab:
        lab.start(timeout=30)
        yield lab


def reaches(lab, segment, left, right):
    """Whether a ping is answered within some seconds: what was flooded first may find the next hop unresolved."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if ping_times(lab[left], lab.hosts[segment][right], count=1):
            return True
    return False


@pytest.mark.parametrize("segment", SEGMENTS)
def test_all_hosts_of_a_segment_reach_each_other(hub, segment):
    for left, right in itertools.permutations(hub.hosts[segment], 2):
        if segment == "isolated" and not left.startswith("hub") and not right.startswith("hub"):
            continue
        assert reaches(hub, segment, left, right), f"{left} does not reach {right}"
        assert len(ping_times(hub[left], hub.hosts[segment][right], count=5)) == 5


@pytest.mark.parametrize("segment, left, right", [("servers", "s2-servers", "s1-servers"), ("proxied", "s4-proxied", "hub-proxied")])
def test_hosts_reach_each_other_by_ipv6(hub, segment, left, right):
    """From VXLAN to a VLAN through the hub, and through a proxy; they find each other by neighbour discovery."""
    address = hub.hosts6[segment][right]
    assert seconds_until_ping(hub[left], address) < 10
    assert len(ping_times(hub[left], address, count=3, size=1500 - 48, dont_fragment=True)) == 3


def test_a_segment_that_is_vxlan_at_both_ends_has_a_vni_at_each(hub, tmp_path):
    """Seen by the kernel's VTEPs."""
    marker, address = b"one overlay, two", hub.hosts["overlay"]["s2-overlay"]
    assert reaches(hub, "overlay", "hub-overlay", "s2-overlay")
    with Capture(hub["hub-vtep"], "eth0", tmp_path / "hub.pcap", "udp port 4789") as at_hub, \
            Capture(hub["s2-vtep"], "eth0", tmp_path / "s2.pcap", "udp port 4789") as at_s2:
        assert len(ping_times(hub["hub-overlay"], address, count=3, size=1472, marker=marker, dont_fragment=True)) == 3
    for capture, vni in ((at_hub, 5018), (at_s2, 6018)):
        vnis = [int.from_bytes(frame[46:49], "big") for frame in capture.having(marker)]
        assert vnis == [vni] * 6, "a question and an answer, three times"
    for appliance, vni, host in ((hub.hub, 5018, "hub-overlay"), (hub.spokes["s2"], 6018, "s2-overlay")):
        assert appliance.macs()["overlay", hub[host].mac("eth0")] == f"underlay VNI {vni} at 10.200.0.2"


def test_a_spoke_shows_its_certificate_and_another_comes_through_a_proxy(hub):
    sites = {site["site"]: site for site in hub.hub.show("service", "l2vpn")["sites"]}
    assert "client_ca" in {certificate["use"] for certificate in hub.hub.show("certificate")["certificates"]}
    assert (sites["s1"]["state"], sites["s1"]["transport"]) == ("up", "udp")
    assert (sites["s4"]["state"], sites["s4"]["transport"]) == ("up", "tcp")


def test_spokes_of_an_isolated_segment_reach_the_hub_only(hub):
    address = hub.hosts["isolated"]["s2-isolated"]
    assert ping_times(hub["s1-isolated"], address, count=3) == []
    assert reaches(hub, "isolated", "s1-isolated", "hub-isolated")


def test_jumbo_frames_cross_a_wan_of_1500(hub):
    size = SEGMENTS["storage"].mtu - 28
    address = hub.hosts["storage"]["s2-storage"]
    assert len(ping_times(hub["hub-storage"], address, count=5, size=size, dont_fragment=True)) == 5


def test_nothing_gets_into_another_segment(hub, tmp_path):
    """A marked broadcast leaves each site once, on the place of its segment. The bridge of a trunk shows it to all its hosts, with
    the tag that it has there; hosts in VXLAN see only their own segment."""
    marker = b"only-in-servers!"
    hosts = ("hub-voice", "hub-mixed", "hub-mixed-vtep", "hub-storage", "s2-servers", "s2-storage", "s3-mixed")
    with contextlib.ExitStack() as stack:
        captures = {host: stack.enter_context(Capture(hub[host], "eth0", tmp_path / f"{host}.pcap", "broadcast"))
                    for host in hosts}
        hub["s1-servers"].run("sh", "-c", f"printf {marker.decode()} | socat - UDP-DATAGRAM:10.10.0.255:9,broadcast")
        time.sleep(0.5)
    seen = {host: [vlan_of(frame) for frame in capture.having(marker)] for host, capture in captures.items()}
    assert seen == {"hub-voice": [10], "hub-mixed": [10], "hub-mixed-vtep": [], "hub-storage": [], "s2-servers": [None],
                    "s2-storage": [], "s3-mixed": [None]}


def test_each_site_routes_by_its_own_gateway(hub):
    macs = {}
    for host, appliance in (("hub-routed", hub.hub), ("s1-routed", hub.spokes["s1"])):
        assert reaches(hub, "routed", host, host)
        assert len(ping_times(hub[host], GATEWAY, count=5)) == 5
        shown = appliance.show("segments")["segments"]
        gateway = next(segment["gateway"] for segment in shown if segment["segment"] == "routed")
        macs[host] = re.search(r"lladdr (\S+)", hub[host].run("ip", "neigh", "show", GATEWAY)).group(1)
        assert macs[host] == gateway["mac"]
    assert len(set(macs.values())) == 2


def test_the_console_tells_who_is_where(hub):
    sites = {site["site"]: site for site in hub.hub.show("service", "l2vpn")["sites"]}
    for spoke in hub.spokes:
        joined = {name for name, segment in SEGMENTS.items() if spoke in segment.places}
        assert sites[spoke]["state"] == "up" and set(sites[spoke]["segments"]) == joined
    learned = hub.hub.macs()
    for host in ("hub-servers", "s1-servers", "s2-servers", "s3-servers"):
        reaches(hub, "servers", "hub-servers", host)
        where = hub.hub.macs()[("servers", hub[host].mac("eth0"))]
        assert ("trunk0" if host.startswith("hub") else host.split("-")[0]) in where
    assert learned


def test_the_conversion_table_tells_tags_apart(hub):
    rows = hub.hub.show("service", "l2vpn", "conversion-table")["rows"]
    kinds = {(row["tunnel_id"], row["id"], row["type"]) for row in rows}
    assert {(10, "10", "VLAN"), (12, "5012", "VXLAN"), (13, "300.30", "Q-in-Q"), (14, "400", "S-VLAN")} <= kinds, kinds
    assert (10, "-", "untagged") in {(row["tunnel_id"], row["id"], row["type"])
                                     for row in hub.spokes["s3"].show("service", "l2vpn", "conversion-table")["rows"]}


def test_a_spoke_that_dies_takes_nothing_with_it(hub):
    """The others lose no frame while s2 is killed, and s2 is back soon after its start."""
    with pinging(hub["s1-servers"], hub.hosts["servers"]["s3-servers"], 0.01) as through_the_hub, \
            pinging(hub["hub-voice"], hub.hosts["voice"]["s1-voice"], 0.01) as beside:
        hub.spokes["s2"].kill()
        time.sleep(1)
        hub.spokes["s2"].start()
        hub.wait_up()
    for result in (through_the_hub, beside):
        assert result["sent"] > 100 and result["received"] == result["sent"], result
    assert reaches(hub, "servers", "hub-servers", "s2-servers")


def test_segments_and_sites_come_and_go_without_a_lost_frame(hub):
    config = hub.hub.config.read_text()

    def reload(text):
        hub.hub.config.write_text(text)
        hub["hub"].run(hub.binary, "reload", "--socket", hub.hub.socket)

    with pinging(hub["s1-servers"], hub.hosts["servers"]["s3-servers"], 0.01) as through_the_hub, \
            pinging(hub["hub-mixed-vtep"], hub.hosts["mixed"]["s3-mixed"], 0.01) as mixed:
        reload(config + '[[segment]]\nname = "new"\ntunnel_id = 99\n'
                        '[[segment.attachment]]\nport = "trunk0"\nvlan = 99\n')
        assert "new" in [segment["segment"] for segment in hub.hub.show("segments")["segments"]]
        reload(config.replace('"voice", ', "", 1))
        assert ping_times(hub["hub-voice"], hub.hosts["voice"]["s1-voice"], count=2) == []
        reload(config)
        assert reaches(hub, "voice", "hub-voice", "s1-voice")
    for result in (through_the_hub, mixed):
        assert result["sent"] > 50 and result["received"] == result["sent"], result


@contextlib.contextmanager
def flooding(host, interface, frame):
    """Sends a frame over and over while the block runs."""
    script = pathlib.Path(__file__).with_name("inject.py")
    process = host.popen("/usr/bin/python3", script, "flood", interface, bytes(frame).hex(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline(), "the first frame is sent"
        yield
    finally:
        process.terminate()
        process.communicate()


def storm_limited(hub):
    """Broadcasts above a limit in segment "servers" at the hub, by where they came from."""
    segments = hub.hub.show("segments")["segments"]
    (servers,) = [segment for segment in segments if segment["segment"] == "servers"]
    return {side["from"]: side["broadcast"] for side in servers["storm_limited"]}


def test_a_site_that_floods_leaves_the_others_what_they_may_send(hub, tmp_path):
    """The hub lets each site send 10 broadcasts a second into "servers", and s1 only 2. While s1 floods, all that s3 says arrives at
    the hub's host and at s2, and s1 is named wherever somebody looks."""
    config = hub.hub.config.read_text()
    limited = config.replace('name = "servers"\ntunnel_id = 10\n', 'name = "servers"\ntunnel_id = 10\nstorm_control = { broadcast = 10 }\n')
    limited = limited.replace('user = "s1"\n', 'user = "s1"\nstorm_control = { broadcast = 2 }\n')
    assert limited.count("storm_control") == 2

    def reload(text):
        hub.hub.config.write_text(text)
        hub["hub"].run(hub.binary, "reload", "--socket", hub.hub.socket)

    def broadcast(host, text):
        return Ether(src=hub[host].mac("eth0"), dst="ff:ff:ff:ff:ff:ff") / Raw(text * 4)

    noise, words = b"noise of one spoke", b"what another says!"
    assert reaches(hub, "servers", "s1-servers", "s3-servers")
    try:
        reload(limited)
        with Capture(hub["hub-servers"], "eth0", tmp_path / "hub.pcap") as at_hub, \
                Capture(hub["s2-servers"], "eth0", tmp_path / "s2.pcap") as at_s2:
            began = time.monotonic()
            with flooding(hub["s1-servers"], vlan_interface_of(hub, "s1-servers"), broadcast("s1-servers", noise)):
                wait_until(lambda: sum(storm_limited(hub).values()) > 1000, "the flood is limited")
                inject(hub["s3-servers"], "eth0", [broadcast("s3-servers", words)] * 5)
                wait_until(lambda: pathlib.Path(at_s2.path).read_bytes().count(words * 4) >= 5, "all that s3 says arrives")
            lasted = time.monotonic() - began
        for capture in (at_hub, at_s2):
            assert len(capture.having(words)) == 5
            assert 1 <= len(capture.having(noise)) <= 2 + 2 * (lasted + 1), "s1's own limit"
        assert set(storm_limited(hub)) == {"site s1"}
        sites = {site["name"]: site["stormLimited"] for site in hub.hub.show("service", "l2vpn", "statistics")["sites"]}
        assert sites["s1"] > 1000 and sites["s2"] == sites["s3"] == 0
        (finding,) = [found for found in segment_test(hub.hub, "servers")["findings"] if found["code"] == "storm_limited"]
        assert re.search(r"\d+ broadcast from site s1$", finding["text"]), finding
        assert "dropped" in sh(hub.binary, "show", "segments", "--socket", hub.hub.socket)
        assert reaches(hub, "servers", "s1-servers", "s3-servers"), "conversations go on"
    finally:
        reload(config)


def vlan_interface_of(hub, host):
    """The interface of a host that has its address in "servers"."""
    listed = hub[host].run("ip", "-o", "-4", "address")
    return re.search(r"^\d+: (\S+)\s+inet 10\.10\.", listed, re.MULTILINE).group(1)


def test_load_in_every_segment_at_once(hub):
    """Two streams fill the sites while the others are pinged: all is answered in the end, and nobody dies."""
    pairs = [("servers", "s1-servers", "s2-servers"), ("storage", "hub-storage", "s2-storage"),
             ("customer", "hub-customer", "s3-customer"), ("carrier", "hub-carrier", "s1-carrier")]
    with contextlib.ExitStack() as stack:
        results = [stack.enter_context(pinging(hub[left], hub.hosts[segment][right], 0.05))
                   for segment, left, right in pairs]
        for segment, left, right in (("servers", "hub-servers", "s3-servers"), ("storage", "s2-storage", "hub-storage")):
            done = iperf(hub[right], hub[left], hub.hosts[segment][right], seconds=2)
            assert done["sum_received"]["bytes"] > 1_000_000
    for pair, result in zip(pairs, results):
        assert result["received"] > 0.9 * result["sent"], (pair, result)
    assert all(appliance.running() and appliance.up() for appliance in hub.appliances)


def test_what_is_left_on_the_machine_is_what_was_there_before(hub):
    """Every interface of a gateway is gone when its appliance has ended in order."""
    spoke = hub.spokes["s1"]
    assert "cw17" in hub["s1"].run("ip", "-br", "link")
    spoke.stop()
    assert "cw17" not in hub["s1"].run("ip", "-br", "link")
    spoke.start()
    hub.wait_up()
    assert sh("ip", "netns", "list")
