"""`causeway test segment` names what is wrong in setups that are broken on purpose; `ping segment`; `test path`."""

import contextlib
import subprocess
import time

import pytest

from asking import codes, command, segment_test
from lab import Lab
from netns import sh
from tools import ping_times


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        lab.start()
        for host, address in (("a10", "10.10.0.2"), ("a11", "10.11.0.2")):
            ping_times(lab[host], address, count=2)
        yield lab


@contextlib.contextmanager
def changed(appliance, *changes):
    """The appliance with another configuration while the block runs."""
    before = appliance.config.read_text()
    after = before
    for old, new in changes:
        assert old in after, old
        after = after.replace(old, new, 1)

    def put(text):
        appliance.config.write_text(text)
        appliance.namespace.run(appliance.lab.binary, "reload", "--socket", appliance.socket)
        time.sleep(0.3)

    try:
        put(after)
        yield
    finally:
        put(before)
        appliance.lab.wait_up()


def test_a_segment_that_is_well_passes_in_both_directions(lab):
    for appliance in (lab.a, lab.b):
        for segment in ("servers", "voice"):
            answer = segment_test(appliance, segment)
            assert answer["result"] == "ok", answer["findings"]
            (site,) = answer["sites"]
            assert site["to"] == site["from"] == {"small": 3, "large": 3}
            assert site["there"]["name"] == segment and site["there"]["local_macs"] >= 1
    assert lab.a.drops()["unknown_tunnel_id"] == 0
    text = sh(lab.binary, "test", "segment", "servers", "--socket", lab.a.socket)
    assert "ok" in text and "branch" in text


VOICE_B = 'name = "voice"\ntunnel_id = 11\n'


def test_another_tunnel_id_at_the_other_end(lab):
    with changed(lab.b, (VOICE_B, VOICE_B.replace("11", "12"))):
        answer = segment_test(lab.a, "voice")
        assert answer["result"] == "failed" and codes(answer) == {"tunnel_id_unknown"}
        assert codes(segment_test(lab.b, "voice"), "error") == {"tunnel_id_unknown"}


def test_disabled_at_one_end(lab):
    with changed(lab.b, (VOICE_B, VOICE_B + "enabled = false\n")):
        assert codes(segment_test(lab.a, "voice"), "error") == {"disabled_there"}
        assert "disabled_here" in codes(segment_test(lab.b, "voice"), "error")


def test_not_in_the_sites_list(lab):
    with changed(lab.a, ('segments = ["servers", "voice"]', 'segments = ["servers"]')):
        assert codes(segment_test(lab.b, "voice"), "error") == {"not_allowed_there"}
        assert "not_allowed_here" in codes(segment_test(lab.a, "voice"), "info"), "beside frames dropped since"


def test_mtus_that_do_not_fit(lab):
    with changed(lab.b, (VOICE_B, VOICE_B + "mtu = 1400\n")):
        answer = segment_test(lab.a, "voice")
        assert codes(answer) == {"mtu_differs"} and answer["result"] == "warnings"
        assert answer["sites"][0]["mtu"] == 1400
    lab["b"].ip("link", "set", "dev", "lan0", "mtu", "1500")
    try:
        assert "port_mtu" in codes(segment_test(lab.b, "servers"), "error")
        answer = segment_test(lab.a, "servers")
        (finding,) = [finding for finding in answer["findings"] if finding["code"] == "port_mtu"]
        assert finding["site"] == "branch" and "at site branch: interface lan0 has MTU 1500" in finding["text"]
    finally:
        lab["b"].ip("link", "set", "dev", "lan0", "mtu", "1600")


def test_a_vtep_without_a_neighbour(lab):
    with changed(lab.b, ('remotes = ["10.20.0.2"]', 'remotes = ["10.20.0.99"]')):
        assert "vtep_no_neighbour" in codes(segment_test(lab.b, "servers"), "error")
        assert "vtep_no_neighbour" in codes(segment_test(lab.a, "servers"), "error"), "seen from the other end"


def test_nothing_arrives_because_the_vlan_is_another(lab):
    with changed(lab.a, ('name = "servers"\n', 'name = "silent"\ntunnel_id = 20\n[[segment.attachment]]\nport = "trunk0"\nvlan = 20\n'
                         '\n[[segment]]\nname = "servers"\n')):
        assert "no_local_frames" in codes(segment_test(lab.a, "silent"), "warning")


def test_a_site_that_is_down_says_why(lab):
    lab.b.stop()
    try:
        deadline = time.monotonic() + 10
        while "site_down" not in codes(answer := segment_test(lab.a, "servers")) and time.monotonic() < deadline:
            time.sleep(0.2)
        (finding,) = [finding for finding in answer["findings"] if finding["code"] == "site_down"]
        assert "shutting down" in finding["text"]
    finally:
        lab.start()


def test_ping_says_where_a_host_is(lab):
    answer = command(lab.a, "ping", "segment", "servers", "10.10.0.1")
    assert answer["answered"] == answer["sent"] == 3
    assert all(probe["where"] == "trunk0 VLAN 10" and probe["ms"] < 900 for probe in answer["probes"])
    answer = command(lab.a, "ping", "segment", "servers", "10.10.0.2", "-c", "2")
    assert [probe["where"] for probe in answer["probes"]] == ["site branch"] * 2
    assert answer["probes"][0]["mac"] == lab["b10"].mac("eth0")
    answer = command(lab.b, "ping", "segment", "servers", "10.10.0.2", "-c", "1")
    assert answer["probes"][0]["where"].startswith("underlay VNI 5010")
    macs = lab.a.macs()
    answer = command(lab.a, "ping", "segment", "servers", "10.10.0.99", "-c", "2")
    assert answer["answered"] == 0 and answer["probes"][0]["mac"] is None, "nobody is there"
    assert lab.a.macs() == macs, "no host has learned, and no bridge either"
    failed = subprocess.run([lab.binary, "ping", "segment", "servers", "10.10.0.99", "-c", "1", "--socket", lab.a.socket],
                            capture_output=True, text=True)
    assert failed.returncode == 1 and "does not answer" in failed.stderr


def test_ping_finds_neighbours_of_ipv6(lab):
    lab["b10"].address("eth0", "fd10::7/64")
    answer = command(lab.a, "ping", "segment", "servers", "fd10::7", "-c", "2")
    assert answer["how"] == "nd" and answer["answered"] == 2
    assert answer["probes"][0]["mac"] == lab["b10"].mac("eth0")


def test_a_path_is_measured_both_ways_without_harm(lab):
    answer = command(lab.a, "test", "path", "branch", "--rate", "5", "--seconds", "2")
    for way in ("to", "from"):
        assert answer[way]["loss_percent"] < 5 and 2 < answer[way]["mbps"] < 7, answer
        assert answer[way]["received_records"] > 100
    times = answer["round_trip"]
    assert times["answered"] >= times["sent"] * 0.8 > 10
    assert 0 < times["min_ms"] <= times["mean_ms"] <= times["max_ms"] and times["jitter_ms"] >= 0
    assert len(ping_times(lab["a10"], "10.10.0.2")) == 5


def test_a_path_that_loses_packets_shows_it(lab):
    lab.wan_like_a_wire()
    rule = 'iifname "a" oifname "b" udp dport != 53 numgen random mod 10 < 3 drop'
    lab["wan"].run("nft", "add table bridge lossy; add chain bridge lossy way { type filter hook forward priority 0; }; "
                          "add rule bridge lossy way " + rule)
    try:
        answer = command(lab.a, "test", "path", "branch", "--rate", "5", "--seconds", "2")
        # Percent of the last echo requests: of the first that is lost on, and never more than all of them.
        deadline = time.monotonic() + 90
        while not (loss := lab.a.show("sessions")["sessions"][0]["loss_percent"]) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert loss and 0 < loss < 100, loss
    finally:
        lab["wan"].run("nft", "delete table bridge lossy")
    assert answer["to"]["loss_percent"] > 15 and answer["from"]["loss_percent"] < 10, answer


def test_questions_that_make_no_sense_get_an_answer_in_words(lab):
    for words, part in ((("test", "segment", "nowhere"), "no segment"), (("test", "path", "nobody"), "no site"),
                        (("ping", "segment", "nowhere", "10.0.0.1"), "no segment")):
        failed = subprocess.run([lab.binary, *words, "--socket", lab.a.socket], capture_output=True, text=True)
        assert failed.returncode == 1 and part in failed.stderr, failed.stderr
