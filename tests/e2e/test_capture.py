"""Captures: of ports, segments, sessions and drops; filters, limits, streams; and what Wireshark makes of them."""

import json
import pathlib
import subprocess
import time

import pytest
from scapy.all import ICMP, IP, Dot1Q, Ether, PcapNgReader

from lab import ROOT, Lab
from netns import sh
from tools import inject, ping_times, wait_until

SCRIPT = ROOT / "docs" / "wireshark" / "causeway.lua"


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        lab.start()
        ping_times(lab["a10"], "10.10.0.2", count=1)
        yield lab


def capturing(appliance, *words, **options):
    """A capture that has begun."""
    command = [str(word) for word in (appliance.lab.binary, "capture", *words, "--socket", appliance.socket)]
    return begun(appliance, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def begun(appliance, command, **options):
    """A command that has asked the appliance for something that goes on."""
    def asking():
        return pathlib.Path("/proc/net/unix").read_text().count(f" {appliance.socket}\n")

    before = asking()
    process = subprocess.Popen(command, **options)
    wait_until(lambda: asking() > before or process.poll() is not None, "it asks")
    time.sleep(0.3)  # until the workers have their tables
    return process


def captured(path, appliance, *words, traffic):
    """The packets that a capture wrote while `traffic` ran."""
    process = capturing(appliance, *words, "-w", path, "--seconds", 30)
    traffic()
    _, said = process.communicate(timeout=40)
    assert process.returncode == 0, said
    return list(PcapNgReader(str(path))), said.decode()


def ping(lab, count=2):
    """One by one, so that each answer comes before the next question."""
    return lambda: [ping_times(lab["a10"], "10.10.0.2", count=1) for _ in range(count)]


def tshark(path, *words):
    return sh("tshark", "-X", f"lua_script:{SCRIPT}", "-r", path, *words)


def test_a_port_is_captured_in_both_directions_with_its_tags(lab, tmp_path):
    packets, said = captured(tmp_path / "p.pcapng", lab.a, "port", "trunk0", "icmp", "-c", 4, traffic=ping(lab))
    assert "4 captured, 0 missed" in said
    assert [packet[ICMP].type for packet in packets] == [8, 0, 8, 0]
    assert all(packet[Dot1Q].vlan == 10 for packet in packets)
    fields = tshark(tmp_path / "p.pcapng", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction")
    lines = [line.split("\t") for line in fields.split("\n") if line]
    assert [line[0] for line in lines] == ["trunk0"] * 4
    assert [int(line[1], 0) for line in lines] == [1, 2, 1, 2]


def test_a_segment_is_captured_where_frames_enter_it(lab, tmp_path):
    packets, _ = captured(tmp_path / "s.pcapng", lab.b, "segment", "servers", "icmp", "and", "host", "10.10.0.1", "-c", 4,
                          traffic=ping(lab))
    assert [(packet[IP].src, packet.haslayer(Dot1Q)) for packet in packets] == [("10.10.0.1", False), ("10.10.0.2", False)] * 2
    names = tshark(tmp_path / "s.pcapng", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment").split("\n")
    assert names[0].startswith("site branch") and "segment servers, tunnel ID 10" in names[0]
    assert names[1].startswith("underlay VNI 5010 at 10.20.0.2")


def test_a_full_disk_leaves_whole_packets_that_nobody_else_reads(lab, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", small)
    try:
        path = small / "full.pcapng"
        process = capturing(lab.a, "port", "trunk0", "-w", path, "--seconds", 60)
        deadline = time.monotonic() + 50
        while process.poll() is None and time.monotonic() < deadline:
            lab["a10"].run("ping", "-q", "-c", 100, "-i", 0.002, "-s", 1400, "10.10.0.2")
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1 and b"No space left" in said
        assert path.stat().st_mode & 0o777 == 0o600
        # Wireshark's tool finds no packet cut short, and ends well.
        assert len(tshark(path, "-T", "fields", "-e", "frame.number").split()) > 50
    finally:
        sh("umount", small)


def test_a_session_is_captured_outside_inside_and_opened(lab, tmp_path):
    outside, inside, records = (tmp_path / f"{name}.pcapng" for name in ("outside", "inside", "records"))
    captures = [capturing(lab.a, "session", "branch", "outside", "-w", outside, "--seconds", 4),
                capturing(lab.a, "session", "branch", "inside", "icmp", "-w", inside, "-c", 6),
                capturing(lab.a, "session", "branch", "records", "-w", records, "--seconds", 4)]
    ping(lab, 3)()
    for process in captures:
        assert process.wait(timeout=30) == 0, process.stderr.read()
    assert [packet[ICMP].type for packet in PcapNgReader(str(inside))] == [8, 0] * 3

    header = tshark(outside, "-T", "fields", "-e", "udp.port", "-e", "causeway.type", "-e", "causeway.lane", "-e", "causeway.number")
    rows = [row.split("\t") for row in header.split("\n") if row]
    assert len(rows) >= 6 and all("443" in row[0] and row[1] == "1" for row in rows)
    lanes = {row[2] for row in rows}
    assert len(lanes) == 2, "one in each direction"
    for lane in lanes:
        numbers = [int(row[3]) for row in rows if row[2] == lane]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no record is missing"

    opened = tshark(records, "-Y", "icmp", "-T", "fields", "-e", "causeway.block.tunnel", "-e", "icmp.type", "-e", "ip.dst")
    rows = [row.split("\t") for row in opened.split("\n") if row]
    assert rows == [["10", "8", "10.10.0.2"], ["10", "0", "10.10.0.1"]] * 3
    echoes = tshark(records, "-Y", "causeway.block.tunnel == 0", "-T", "fields", "-e", "causeway.block.kind")
    assert {"1", "2"} <= set(echoes.split())
    assert tshark(records, "-Y", "_ws.malformed or causeway.malformed") == ""


def test_drops_are_captured_with_their_reason(lab, tmp_path):
    foreign = Ether(src="02:00:00:00:00:71", dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=77) / IP(dst="10.0.0.9")
    own = Ether(src="02:00:00:00:00:71", dst="02:00:00:00:00:71") / Dot1Q(vlan=10) / IP(dst="10.0.0.9")
    frames = [foreign, own, foreign]
    packets, _ = captured(tmp_path / "d.pcapng", lab.a, "drops", "ether", "host", "02:00:00:00:00:71", "-c", 3,
                          traffic=lambda: inject(lab["a-lan"], "trunk", frames))
    # A stage drops what it drops of a whole burst before the next stage has its turn.
    found = [(str(packet[Dot1Q].vlan) if packet.haslayer(Dot1Q) else "") for packet in packets]
    comments = tshark(tmp_path / "d.pcapng", "-T", "fields", "-e", "vlan.id", "-e", "frame.comment").split("\n")
    comments = [line.split("\t") for line in comments if line]
    assert [line[0] for line in comments] == found
    assert sorted(comments) == [["", "dropped: hairpin, segment servers, tunnel ID 10"], *[["77", "dropped: unknown_vlan"]] * 2]
    packets, _ = captured(tmp_path / "d.pcapng", lab.a, "drops", "hairpin", "-c", 1,
                          traffic=lambda: inject(lab["a-lan"], "trunk", frames))
    assert len(packets) == 1


def test_a_capture_is_streamed_and_ends_with_its_reader(lab):
    process = capturing(lab.a, "port", "trunk0", "icmp", "-w", "-")
    reader = subprocess.Popen(["tshark", "-r", "-", "-l", "-T", "fields", "-e", "icmp.type", "-c", "2"],
                              stdin=process.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process.stdout.close()
    deadline = time.monotonic() + 20
    while reader.poll() is None and time.monotonic() < deadline:
        ping(lab, 2)()
    assert reader.communicate(timeout=5)[0].split() == ["8", "0"]
    while process.poll() is None and time.monotonic() < deadline:
        ping(lab, 1)()
    assert process.returncode == 0


def going_on(lab):
    """Captures, and tests and explanations, that go on."""
    consoles = lab.a.show("consoles")
    return consoles["captures"], consoles["tests"]


NOBODY = "192.0.2.99"  # what nobody sends

LASTING = {
    "pcapng": ("capture", "port", "trunk0", "host", NOBODY, "-w", "-"),
    "lines": ("capture", "segment", "servers", "host", NOBODY),
    "one command of the console": ("console", "-c", f"capture lines port trunk0 host {NOBODY}"),
    "a live frame": ("explain", "live", "host", NOBODY),
    "ping": ("ping", "segment", "servers", "10.10.0.99", "--count", "100"),
    "the path": ("test", "path", "branch", "--seconds", "10", "--rate", "1"),
}


@pytest.mark.parametrize("ended", ["nobody reads", "killed"])
def test_what_takes_its_time_ends_with_who_asked(lab, ended):
    """At once, while nothing passes that would be written: by then nothing is left of it in the appliance."""
    for what, words in LASTING.items():
        process = subprocess.Popen([str(word) for word in (lab.binary, *words, "--socket", lab.a.socket)], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        wait_until(lambda: sum(going_on(lab)) == 1, f"{what} has begun", 30)
        if ended == "killed":
            process.kill()
        else:
            process.stdout.close()
        began = time.monotonic()
        process.wait(timeout=30)
        wait_until(lambda: going_on(lab) == (0, 0), f"nothing of {what} is left", 30)
        assert time.monotonic() - began < 8, f"{what}: at once, and not when its time is over"
    assert not captures_left(lab)


def test_lines_for_people_and_faults_in_words(lab):
    process = capturing(lab.a, "segment", "servers", "icmp", "-c", 1)
    ping(lab, 1)()
    out, said = process.communicate(timeout=30)
    assert b"icmp 10.10.0.1 > 10.10.0.2" in out and b"trunk0 VLAN 10" in out and b"1 captured" in said
    for words, part in ((("port", "eth9"), "no port"), (("segment", "x"), "no segment"), (("session", "x"), "no site"),
                        (("nowhere",), "capture where"), (("port", "trunk0", "hots"), "is unknown"),
                        (("session", "branch", "records", "icmp"), "filter in Wireshark")):
        failed = subprocess.run([lab.binary, "capture", *words, "--socket", lab.a.socket], capture_output=True, text=True)
        assert failed.returncode == 1 and part in failed.stderr, (words, failed.stderr)


def test_a_full_disk_hurts_the_command_and_nobody_else(lab):
    process = capturing(lab.a, "port", "trunk0", "-w", "/dev/full")
    ping(lab, 1)()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1 and b"No space left" in said
    assert len(ping_times(lab["a10"], "10.10.0.2")) == 5
    assert not captures_left(lab)


def captures_left(lab):
    """Whether the appliance still holds a capture: eight more find room if not."""
    words = ["port", "trunk0", "port", "1", "-c", "1", "--seconds", "1"]
    processes = [capturing(lab.a, *words) for _ in range(8)]
    return any(process.wait(timeout=30) for process in processes)


def test_explain_tells_each_step_here_and_at_the_other_end(lab):
    hosts = {"src": lab["a10"], "dst": lab["b10"]}
    ping_times(lab["a10"], "10.10.0.2", count=1)
    mac = {side: address_of(host) for side, host in hosts.items()}
    answer = explain(lab.a, "segment", "servers", "src", mac["src"], "dst", mac["dst"], "ip", "10.10.0.2")
    here = [(step["stage"], step["verdict"]) for step in answer["here"]]
    assert here == [("arrive", "note"), ("classify", "pass"), ("learn", "pass"), ("look up", "pass"), ("decide", "pass"), ("send", "pass")]
    texts = " / ".join(step["text"] for step in answer["here"])
    assert "trunk0 VLAN 10" in texts and "site branch only" in texts and "record of" in texts
    (there,) = answer["there"]
    assert there["site"] == "branch"
    texts = " / ".join(step["text"] for step in there["steps"])
    assert "segment servers (tunnel ID 10)" in texts and "leaves by underlay" in texts

    before = lab.a.macs()
    answer = explain(lab.a, "segment", "servers", "src", "02:00:00:00:00:aa", "dst", "02:00:00:00:00:bb", "size", "9000")
    assert answer["here"][-1]["verdict"] == "drop" and "oversize" in answer["here"][-1]["text"] and answer["there"] == []
    answer = explain(lab.a, "segment", "servers", "src", "02:00:00:00:00:aa", "dst", "02:00:00:00:00:bb")
    assert "not known" in answer["here"][3]["text"] and "flooded to" in answer["here"][4]["text"]
    assert "flooded to underlay VNI 5010" in " / ".join(step["text"] for step in answer["there"][0]["steps"])
    assert lab.a.macs() == before, "nothing is learned"
    answer = explain(lab.b, "segment", "servers", "src", mac["src"], "dst", "ff:ff:ff:ff:ff:ff", "from", "branch", "ip", "10.10.0.2")
    assert "arp 0.0.0.0 > 10.10.0.2" in answer["here"][0]["text"] and answer["here"][-1]["verdict"] == "pass"


def test_explain_waits_for_a_live_frame(lab):
    command = [lab.binary, "explain", "live", "icmp", "--json", "--socket", lab.a.socket]
    process = begun(lab.a, command, stdout=subprocess.PIPE)
    ping(lab, 1)()
    answer = json.loads(process.communicate(timeout=30)[0])
    assert "icmp 10.10.0.1 > 10.10.0.2" in answer["here"][0]["text"] and answer["there"][0]["site"] == "branch"


def explain(appliance, *words):
    return json.loads(sh(appliance.lab.binary, "explain", *words, "--json", "--socket", appliance.socket))


def address_of(host):
    """The MAC address of a host's only interface that is up."""
    (path,) = [path for path in host.run("sh", "-c", "ls -d /sys/class/net/eth0*").split()][:1]
    return host.mac(pathlib.Path(path).name)
