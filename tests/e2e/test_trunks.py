"""Faults of trunks that only their traffic tells, and what is watched in the background."""

import time

from asking import codes, segment_test
from lab import Lab
from tools import ping_times


def test_a_trunk_that_delivers_no_frames_for_foreign_macs():
    with Lab() as lab:
        lab.start()
        lan = lab["a-lan"]
        lan.run("bridge", "link", "set", "dev", "trunk", "learning", "off", "flood", "off")
        for _ in range(4):
            lab["a10"].ip("neigh", "flush", "all")
            ping_times(lab["a10"], "10.10.0.2", count=1)
        answer = segment_test(lab.a, "servers")
        assert "foreign_macs" in codes(answer), answer
        assert "foreign_macs" in codes(segment_test(lab.b, "servers")), "the other end tells it too"
        lan.run("bridge", "link", "set", "dev", "trunk", "learning", "on", "flood", "on")


CHATTER = """
import socket, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(60):
    udp.sendto(b"x" * 100, ("10.10.0.2", 9))
    time.sleep(0.03)
"""


def test_checksums_left_to_a_nic_that_is_not_there():
    with Lab() as lab:
        text = lab.a.config.read_text()
        lab.a.config.write_text(text.replace('device = "kernel:lan0"', 'device = "af_packet:lan0"'))
        lab.start()
        assert len(ping_times(lab["a10"], "10.10.0.2", count=3)) >= 1
        lab["a10"].run("/usr/bin/python3", "-c", CHATTER)
        answer = segment_test(lab.a, "servers")
        assert "checksum_offload" in codes(answer, "error"), answer
        lab["a10"].run("ethtool", "-K", "eth0", "tx", "off")
        before = lab.a.show("service", "l2vpn", "statistics", "segment", "servers")
        lab["a10"].run("/usr/bin/python3", "-c", CHATTER)
        after = lab.a.show("service", "l2vpn", "statistics", "segment", "servers")
        assert after["checksumsSampled"] > before["checksumsSampled"] and after["checksumsWrong"] == before["checksumsWrong"]


def test_alarms_are_raised_in_the_background_and_cleared():
    with Lab() as lab:
        lab.start()
        ping_times(lab["a10"], "10.10.0.2", count=2)
        lab.b.stop()

        def codes_of():
            return {(alarm["code"], alarm["site"]) for alarm in lab.a.show("alarms")["alarms"]}

        wait_for(lambda: ("site_down", "branch") in codes_of(), 45)
        assert lab.a.log().count("code=\"site_down\"") + lab.a.log().count("code=site_down") <= 1
        lab.start()
        wait_for(lambda: ("site_down", "branch") not in codes_of(), 45)


def wait_for(what, timeout):
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.5)
