"""One turn of measurements of a tunnel that is up: each function returns a dict of figures."""

import json
import os
import pathlib
import re
import statistics
import subprocess
import time

from topology import HOST_B, sh  # noqa: F401
from tools import wait_for_listener

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """User and system time of all threads of the processes."""
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mb(pids):
    total = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = re.search(r"VmRSS:\s+(\d+)", text)
        total += int(found.group(1)) if found else 0
    return total / 1024


def iperf(topology, *options, seconds=4):
    """One iperf3 run from host A; the report's "end"."""
    server = topology["hb"].popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_listener(topology["hb"], 5201)
        text = topology["ha"].run("iperf3", "-J", "-c", HOST_B, "-t", seconds, "--connect-timeout", 3000, *options,
                                  check=False, timeout=seconds + 30)
    finally:
        server.kill()
        server.wait()
    report = json.loads(text)
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    return report["end"]


def tcp(topology, reverse=False, seconds=4):
    pids = topology.pids()
    before = cpu_seconds(pids)
    end = iperf(topology, *(["-R"] if reverse else []), seconds=seconds)["sum_received"]
    gigabytes = end["bytes"] / 1e9
    return end["bits_per_second"] / 1e9, (cpu_seconds(pids) - before) / gigabytes


def datagrams_arrived(topology):
    """UDP datagrams that reached host B's sockets or overran them: a card's counters see a super-frame as one."""
    lines = [line.split() for line in topology["hb"].run("cat", "/proc/net/snmp").splitlines() if line.startswith("Udp:")]
    fields = dict(zip(lines[0][1:], map(int, lines[1][1:])))
    return fields["InDatagrams"] + fields["RcvbufErrors"]


def udp(topology, size, rate="0", seconds=3):
    """Offers datagrams; returns those offered and those that arrived at host B, a second, and the loss in percent."""
    before = datagrams_arrived(topology)
    end = iperf(topology, "-u", "-b", rate, "-l", size, seconds=seconds)["sum"]
    arrived = datagrams_arrived(topology) - before
    sent = max(end["packets"], 1)
    return sent / end["seconds"], arrived / end["seconds"], max(0.0, 100 * (1 - arrived / sent))


def small_rate(topology, seconds=1.5):
    """The highest rate of 64-byte frames with at most 1 % loss, in thousands a second: bisected."""
    offered, arrived, loss = udp(topology, 18, seconds=seconds)
    if loss <= 1:
        return arrived / 1000
    low, high, best = 0.0, offered, 0.0
    for _ in range(6):
        rate = (low + high) / 2
        offered, arrived, loss = udp(topology, 18, f"{int(rate * 18 * 8)}", seconds=seconds)
        if loss <= 1:
            low, best = rate, max(best, arrived)
        else:
            high = rate
    return best / 1000


def pings(topology, count=300, interval=0.005):
    text = topology["ha"].run("ping", "-n", "-c", count, "-i", interval, "-W", 1, HOST_B, check=False)
    times = sorted(float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", text))
    if len(times) < count / 2:
        raise RuntimeError(f"only {len(times)} of {count} pings were answered")
    return statistics.median(times), times[int(len(times) * 0.99)]


def pings_under_load(topology, seconds=4):
    """Median and p99 in ms while one TCP connection runs."""
    server = topology["hb"].popen("iperf3", "-s", "-1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_listener(topology["hb"], 5201)
    load = topology["ha"].popen("iperf3", "-c", HOST_B, "-t", seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    try:
        median, p99 = pings(topology, count=int((seconds - 1.5) / 0.005))
    finally:
        load.wait(seconds + 30)
        server.kill()
        server.wait()
    return median / 1000, p99 / 1000


def wire_octets(topology):
    """Octets on the WAN for one full-size frame of 1514, from the counters of its cable, over 100 single pings' requests."""
    def sent():
        return int(topology["sa"].run("cat", "/sys/class/net/wan0/statistics/tx_bytes"))
    before = sent()
    topology["ha"].run("ping", "-n", "-c", 50, "-i", 0.01, "-s", 1472, HOST_B, check=False)
    return (sent() - before) / 50


def turn(topology, quick):
    """All figures of one turn."""
    seconds = 2 if quick else 5
    figures = {}
    figures["ping_us"], figures["ping_p99_us"] = pings(topology)
    figures["wire"] = wire_octets(topology)
    figures["tcp"], figures["cpu"] = tcp(topology, seconds=seconds)
    figures["tcp_reverse"], reverse_cpu = tcp(topology, reverse=True, seconds=seconds)
    figures["cpu"] = (figures["cpu"] + reverse_cpu) / 2
    figures["small"] = small_rate(topology, 1 if quick else 2)
    _, arrived, figures["udp_loss"] = udp(topology, 1400, seconds=seconds)
    figures["udp"] = arrived * 1400 * 8 / 1e9
    figures["load_ping_ms"], figures["load_ping_p99_ms"] = pings_under_load(topology, seconds + 2)
    figures["memory"] = resident_mb(topology.pids())
    return figures
