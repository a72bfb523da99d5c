"""The real binary between kernel hosts: bad input on every port, floods, kills, decoding."""

import os
import pathlib
import signal
import sys
import time

import pytest
from scapy.all import ARP, IP, UDP, Dot1Q, Ether, Raw
from scapy.layers.vxlan import VXLAN

from lab import SERVER_ADDRESS, STRANGER_ADDRESS, Lab
from tools import Capture, inject, iperf, is_record, ping_times, pinging, seconds_until_ping, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "decoder"))
from decoder import decode  # noqa: E402

HOST = "02:00:00:00:00:77"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def counted(appliance, name, act, at_least=1):
    """Runs `act` and waits until the counter has grown."""
    before = appliance.drops()[name]
    act()
    deadline = time.monotonic() + 15
    while appliance.drops()[name] < before + at_least:
        assert time.monotonic() < deadline, f"{name} is {appliance.drops()[name]}, was {before}"
        time.sleep(0.02)


def works(lab):
    """Whether both segments carry frames; the loop guard may still listen for its own when a session has just come up."""
    seconds_until_ping(lab["a10"], "10.10.0.2", timeout=5)
    seconds_until_ping(lab["b11"], "10.11.0.1", timeout=5)
    return len(ping_times(lab["a10"], "10.10.0.2", count=3)) == 3 and len(ping_times(lab["b11"], "10.11.0.1", count=3)) == 3


def vxlan(inner, flags=8, vni=5010):
    return (Ether() / IP(src="10.20.0.2", dst="10.20.0.1") / UDP(sport=50000, dport=4789)
            / VXLAN(flags=flags, vni=vni) / inner)


LAN_CASES = [
    ("unknown_vlan", Ether(src=HOST, dst=BROADCAST) / Dot1Q(vlan=99) / Raw(b"x" * 50)),
    ("untagged_not_attached", Ether(src=HOST, dst=BROADCAST) / Raw(b"x" * 50)),
    ("source_multicast", Ether(src="03:00:00:00:00:01", dst=BROADCAST) / Dot1Q(vlan=10) / Raw(b"x" * 50)),
    ("source_zero", Ether(src="00:00:00:00:00:00", dst=BROADCAST) / Dot1Q(vlan=10) / Raw(b"x" * 50)),
    ("reserved_mac", Ether(src=HOST, dst="01:80:c2:00:00:0e") / Dot1Q(vlan=10) / Raw(b"x" * 50)),
]


@pytest.mark.parametrize("name, frame", LAN_CASES, ids=[case[0] for case in LAN_CASES])
def test_lan_frames_that_do_not_fit(lab, name, frame):
    # Onto the cable of the trunk itself: the bridge at site A would drop some of these.
    counted(lab.a, name, lambda: inject(lab["a-lan"], "trunk", [frame]))


VXLAN_CASES = [
    ("vxlan_bad_flags", vxlan(Ether(src=HOST, dst=BROADCAST) / Raw(b"x" * 50), flags=0)),
    ("vxlan_unknown_vni", vxlan(Ether(src=HOST, dst=BROADCAST) / Raw(b"x" * 50), vni=9)),
    ("vxlan_inner_runt", vxlan(Raw(b"x" * 9))),
]


@pytest.mark.parametrize("name, frame", VXLAN_CASES, ids=[case[0] for case in VXLAN_CASES])
def test_vxlan_that_does_not_fit(lab, name, frame):
    frame.dst, frame.src = lab["b"].mac("lan0"), lab["vtep"].mac("eth0")
    counted(lab.b, name, lambda: inject(lab["vtep"], "eth0", [frame]))


def test_a_frame_above_the_segments_mtu_is_told(lab):
    frame = vxlan(Ether(src=HOST, dst=BROADCAST) / Raw(b"x" * 1540))
    frame.dst, frame.src = lab["b"].mac("lan0"), lab["vtep"].mac("eth0")
    counted(lab.b, "oversize", lambda: inject(lab["vtep"], "eth0", [frame]))


def test_a_vtep_that_is_not_known_is_told_and_learned(lab):
    frame = vxlan(Ether(src=HOST, dst=BROADCAST) / Raw(b"x" * 50))
    frame.dst, frame.src = lab["b"].mac("lan0"), lab["vtep"].mac("eth0")
    frame[IP].src = "10.20.0.77"
    counted(lab.b, "vxlan_unknown_vtep", lambda: inject(lab["vtep"], "eth0", [frame]))


def test_hosts_on_one_side_do_not_need_us(lab):
    """A frame whose destination lies where it came from is dropped by name: those two reach each other without us."""
    first, second = "02:00:00:00:00:81", "02:00:00:00:00:82"
    frames = [Ether(src=first, dst=BROADCAST), Ether(src=second, dst=first)]
    counted(lab.a, "hairpin",
            lambda: inject(lab["a-lan"], "trunk", [f / Dot1Q(vlan=10) / Raw(b"x" * 50) for f in frames]))


def test_our_own_frames_coming_back_are_dropped(lab):
    own = lab["a"].mac("lan0")
    counted(lab.a, "own_source",
            lambda: inject(lab["a-lan"], "trunk", [Ether(src=own, dst=BROADCAST) / Dot1Q(vlan=10) / Raw(b"x" * 50)]))


def test_segments_stay_apart(lab):
    text = b"only-for-segment-10!"
    frame = Ether(src=HOST, dst=BROADCAST) / Dot1Q(vlan=10) / Raw(text * 3)
    with (Capture(lab["b10"], "eth0", lab.directory / "own.pcap") as own,
          Capture(lab["b11"], "eth0", lab.directory / "other.pcap") as other):
        inject(lab["a-lan"], "trunk", [frame] * 5)
        own.wait(text, 5)
    assert len(own.having(text)) == 5 and not other.having(text)


def test_checksums_that_a_host_left_to_its_card_are_finished(lab):
    """Hosts keep their offloads: a connection through both segments works, and nothing arrives with a wrong checksum."""
    for number, right in ((10, "10.10.0.2"), (11, "10.11.0.2")):
        end = iperf(lab[f"b{number}"], lab[f"a{number}"], right, seconds=1)
        assert end["sum_received"]["bytes"] > 10_000_000
    wrong = [line.split() for line in lab["b10"].run("cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:")]
    assert dict(zip(*wrong))["InCsumErrors"] == "0"


def test_double_tags_cross(lab):
    """The inner tag is payload: what has VLAN 10 outside and 77 inside arrives with 77."""
    frame = Ether(src=HOST, dst=BROADCAST) / Dot1Q(vlan=10) / Dot1Q(vlan=77) / Raw(b"double-tagged-frame" * 3)
    with Capture(lab["b10"], "eth0", lab.directory / "double.pcap") as capture:
        inject(lab["a-lan"], "trunk", [frame])
    found = capture.having(b"double-tagged-frame")
    assert [bytes(f[12:16]).hex() for f in found] == ["8100004d"]


def stranger(lab, payload, port=443):
    packet = (Ether(dst=lab["a"].mac("eth0"), src=lab["wan"].mac("br0"))
              / IP(src=STRANGER_ADDRESS["ipv4"], dst=SERVER_ADDRESS["ipv4"]) / UDP(sport=4000, dport=port) / Raw(payload))
    return packet


def test_wan_datagrams_that_do_not_fit(lab):
    for name, payload in [("record_short", b"x" * 20), ("record_type", b"\x20" + b"x" * 40),
                          ("no_such_lane", b"\x10\xff\xff\xff" + b"x" * 40)]:
        counted(lab.a, name, lambda: inject(lab["wan"], "br0", [stranger(lab, payload)]))


def test_replayed_and_forged_records(lab):
    with Capture(lab["wan"], "a", lab.directory / "replay.pcap") as capture:
        assert works(lab)
    to_a = bytes.fromhex(lab["a"].mac("eth0").replace(":", ""))
    # Not the super-frames that a probe of the path's MTU and the record behind it make.
    records = [frame for frame in capture.frames if is_record(frame) and frame[:6] == to_a and len(frame) <= 1514]
    assert records
    counted(lab.a, "replayed", lambda: inject(lab["wan"], "a", records), len(records) - 1)
    forged = [frame[:-1] + bytes([frame[-1] ^ 1]) for frame in records]
    # A forged copy with a number that was seen is a replay; with a new number it is not authentic.
    fresh = [frame[:47] + bytes([frame[47] ^ 0x10]) + frame[48:] for frame in forged]
    counted(lab.a, "not_authentic", lambda: inject(lab["wan"], "a", fresh))
    assert works(lab)


def test_a_flood_of_random_datagrams(lab):
    script = pathlib.Path(__file__).with_name("inject.py")
    with pinging(lab["a10"], "10.10.0.2") as pings:
        answers = lab["wan"].run("/usr/bin/python3", script, "datagrams", SERVER_ADDRESS["ipv4"], 443, 100_000, 1)
    assert int(answers) == 0, "silence towards strangers"
    assert pings["received"] >= 0.9 * pings["sent"], pings


def test_garbage_on_the_control_port(lab):
    """The script runs in the WAN's namespace: garbage, and half-open connections by the hundred."""
    script = f"""
import socket
def connect():
    return socket.create_connection(("{SERVER_ADDRESS['ipv4']}", 443), timeout=3)
with connect() as s:
    s.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    while s.recv(4096): pass
held = [connect() for _ in range(300)]
print("held", len(held))
import time; time.sleep(1)
"""
    with pinging(lab["a11"], "10.11.0.2") as pings:
        for alpn in ((), ("-alpn", "h2")):
            told = lab["wan"].run("sh", "-c", f"openssl s_client -connect {SERVER_ADDRESS['ipv4']}:443 {' '.join(alpn)} 2>&1",
                                  input="", check=False)
            assert "alert number 120" in told, told
        lab["wan"].run("/usr/bin/python3", "-c", script)
    assert pings["received"] >= 0.9 * pings["sent"], pings
    assert lab.a.running() and "what the peer sends is not TLS" in lab.a.log()
    assert "too many connections that have not logged in" in lab.a.log()


def test_mac_tables_know_who_is_where(lab):
    assert works(lab)
    assert lab.a.macs()["servers", lab["b10"].mac("eth0")] == "site branch"
    assert lab.b.macs()["servers", lab["b10"].mac("eth0")] == "underlay VNI 5010 at 10.20.0.2"


def test_the_client_is_killed_and_comes_back(lab):
    lab.b.kill()
    began = time.monotonic()
    lab.b.start()
    lab.wait_up()
    seconds_until_ping(lab["a10"], "10.10.0.2")
    assert time.monotonic() - began < 10
    assert works(lab)


def test_a_wrong_password_is_told_where_it_may_be_known(lab):
    lab.b.stop()
    lab.write_configs(password="wrong")
    try:
        lab.b.start()
        for appliance, told in ((lab.a, "the password is wrong"), (lab.b, "user or password is wrong")):
            wait_until(lambda: told in appliance.show("service", "l2vpn")["sites"][0]["last_failure"], told)
    finally:
        lab.b.stop()
        lab.write_configs()
        lab.b.start()
        lab.wait_up()
    assert works(lab)


def test_the_server_is_killed_and_comes_back(lab):
    lab.a.kill()
    began = time.monotonic()
    lab.a.start()
    lab.wait_up()
    seconds_until_ping(lab["a10"], "10.10.0.2")
    assert time.monotonic() - began < 10
    assert works(lab)


@pytest.mark.alone
def test_overload_is_borne(lab):
    """A minute of small datagrams as fast as the host can make them: the session stays up and answers afterwards."""
    before = lab.b.show("service", "l2vpn")["sites"][0]["up_s"]
    report = iperf(lab["b10"], lab["a10"], "10.10.0.2", "-u", "-b", "0", "-l", "18", "-P", "4", seconds=60)
    assert report["sum"]["packets"] > 1_000_000
    for appliance in (lab.a, lab.b):
        site = appliance.show("service", "l2vpn")["sites"][0]
        assert site["state"] == "up"
    assert lab.b.show("service", "l2vpn")["sites"][0]["up_s"] >= before + 60, "one session all the time"
    assert works(lab)


def test_sigterm_ends_in_order(lab):
    assert lab.b.stop(signal.SIGTERM) < 2.0
    assert lab.b.process.returncode == 0
    wait_until(lambda: "shutting down" in lab.a.show("service", "l2vpn")["sites"][0]["last_failure"], "the server knows why")
    lab.b.start()
    lab.wait_up()


def test_the_wan_decodes_to_the_frames_that_were_sent():
    """A second implementation, written from the specification, reads a capture of the WAN."""
    keylog = pathlib.Path(f"/tmp/causeway-keys-{os.getpid()}")
    os.environ["SSLKEYLOGFILE"] = str(keylog)
    try:
        with Lab() as lab, Capture(lab["wan"], "a", lab.directory / "wan.pcap") as _:
            lab.wan_like_a_wire()
            lab.start()
            assert works(lab)
            sent = [bytes(Ether(src=HOST, dst=BROADCAST) / ARP() / Raw(bytes([n]) * (40 + 61 * n))) for n in range(24)]
            tagged = [frame[:12] + bytes.fromhex("8100000a") + frame[12:] for frame in sent]
            inject(lab["a-lan"], "trunk", tagged)
            time.sleep(0.7)
            inner, damaged = decode(lab.directory / "wan.pcap", keylog)
    finally:
        del os.environ["SSLKEYLOGFILE"]
        keylog.unlink(missing_ok=True)
    assert damaged == 0
    found = [frame for _, tunnel, frame in inner if tunnel == 10 and frame[6:12] == sent[0][6:12]]
    assert [sent.index(frame) for frame in found] == list(range(len(sent)))


def test_ipv6_wan():
    with Lab(wan="ipv6") as lab:
        with Capture(lab["wan"], "a", lab.directory / "wan.pcap") as capture:
            lab.start()
            assert works(lab)
            assert len(ping_times(lab["a10"], "10.10.0.2", size=1472, dont_fragment=True)) == 5
            assert lab.b.show("service", "l2vpn")["sites"][0]["peer"].startswith("[fd00::1]")
    kinds = [bytes(frame[12:14]).hex() for frame in capture.frames if is_record(frame)]
    assert kinds and set(kinds) == {"86dd"}, "records over IPv6 and nothing else"


@pytest.mark.alone
def test_two_workers_share_a_session():
    with Lab(workers=2) as lab:
        lab.start()
        assert works(lab)
        for options in ((), ("-R",)):
            end = iperf(lab["b10"], lab["a10"], "10.10.0.2", "-P", "8", *options, seconds=2)
            assert end["sum_received"]["bytes"] > 10_000_000
        for appliance in (lab.a, lab.b):
            workers = appliance.show("counters")["by_worker"]
            # A worker that gets no core for some milliseconds has its queue full.
            assert appliance.drops()["handover_full"] < sum(worker["frames"] for worker in workers) / 100
            assert len(workers) == 2 and all(worker["frames"] > 1000 for worker in workers), workers
        assert works(lab)
