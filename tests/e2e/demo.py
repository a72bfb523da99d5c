"""`./dev demo`: stretches two segments between two sites and checks that it is true.

    demo.py           builds the lab, checks, removes it; exit 0 only if every check holds
    demo.py --no-limits   the same, but figures that depend on the machine's speed are only shown
    demo.py --keep    leaves it up and says how to walk into it
    demo.py --down    removes what --keep left
"""

import argparse
import sys
import time
import traceback

from lab import Lab, WAN_MTU, remove_abandoned
from tools import (Capture, cpu_percent, is_ip_fragment, is_record, median, iperf, ping_times,
                   seconds_until_ping, vlan_of)

# What must hold; the measured values are in the table.
PING_MS = 0.6
TCP_GBITS = 2.0
UDP_MBITS, UDP_LOSS_PERCENT = 100, 1.0
IDLE_CPU_PERCENT = 8.0
RECOVERY_S = 5.0
STOP_S = 2.0

MARKER = b"causeway-marker!"
STRAY = b"stay-in-segment!"
BIGGEST_PING = WAN_MTU - 28  # IPv4 and ICMP headers

SEGMENTS = {
    10: ("servers", "VLAN 10 <-> VNI 5010", "10.10.0.1", "10.10.0.2"),
    11: ("voice", "VLAN 11 <-> VLAN 111", "10.11.0.1", "10.11.0.2"),
}


class Table:
    """Checks as they are made: printed at once, and counted."""

    def __init__(self, limits=True):
        self.limits = limits
        self.failed = 0
        self.began = time.monotonic()

    def title(self, text):
        print(f"\n  {text}")

    def row(self, what, measured, holds):
        self.failed += not holds
        mark = "ok" if holds else "FAILED"
        print(f"    {what:<44} {measured:<34} {mark}", flush=True)

    def figure(self, what, measured, holds):
        """A row whose limit depends on how fast and how busy the machine is."""
        self.row(what, measured, holds or not self.limits)

    def end(self):
        verdict = "every check holds" if not self.failed else f"{self.failed} CHECKS FAILED"
        print(f"\n  {verdict}, {time.monotonic() - self.began:.0f} s\n")


def check_ping(lab, table):
    table.title("ping")
    for number, (_, what, left, right) in SEGMENTS.items():
        for host, address, arrow in ((f"a{number}", right, "A to B"), (f"b{number}", left, "B to A")):
            times = ping_times(lab[host], address, count=5)
            table.row(f"{what}, {arrow}", f"{len(times)} of 5 answered", len(times) == 5)
        times = ping_times(lab[f"a{number}"], right, count=200, interval=0.01)
        table.row(f"{what}, 200 in a row", f"{len(times)} answered", len(times) == 200)
        table.figure(f"{what}, median of 200", f"{median(times):.3f} ms (at most {PING_MS})",
                     median(times) <= PING_MS)


def check_wan(lab, table):
    """Full-size frames cross, and a capture of the WAN shows nothing of them."""
    table.title(f"WAN of MTU {WAN_MTU}, captured")
    macs = [bytes.fromhex(lab[host].mac("eth0").replace(":", "")) for host in ("a10", "a11", "b10", "b11")]
    with (Capture(lab["wan"], "a", lab.directory / "wan.pcap") as wan,
          Capture(lab["b10"], "eth0", lab.directory / "lan.pcap") as lan):
        for number, (_, what, _, right) in SEGMENTS.items():
            times = ping_times(lab[f"a{number}"], right, size=BIGGEST_PING, marker=MARKER, dont_fragment=True)
            table.row(f"{what}, ping -M do -s {BIGGEST_PING}", f"{len(times)} of 5 answered", len(times) == 5)
    records = sum(map(is_record, wan.frames))
    table.row("records seen", f"{records} of {len(wan.frames)} packets", records >= 10)
    fragments = sum(map(is_ip_fragment, wan.frames))
    table.row("IP fragments", f"{fragments}", fragments == 0)
    table.row("the ping's text, at a host (to compare)", f"in {len(lan.having(MARKER))} frames",
              len(lan.having(MARKER)) > 0)
    table.row("the ping's text, on the WAN", f"in {len(wan.having(MARKER))} packets", not wan.having(MARKER))
    seen = sum(len(wan.having(mac)) for mac in macs)
    table.row("the hosts' MAC addresses, on the WAN", f"in {seen} packets", seen == 0)


def check_macs(lab, table):
    table.title("MAC tables")
    for site, appliance in (("A", lab.a), ("B", lab.b)):
        known = appliance.macs()
        for number, (segment, *_) in SEGMENTS.items():
            for host in (f"a{number}", f"b{number}"):
                where = known.get((segment, lab[host].mac("eth0")))
                table.row(f"{site} knows {host} in {segment}", f"at {where}" if where else "no",
                          where is not None)


def check_isolation(lab, table):
    """What is flooded in segment 10 arrives in segment 10 and nowhere else."""
    table.title("isolation")
    with (Capture(lab["b10"], "eth0", lab.directory / "b10.pcap") as own,
          Capture(lab["b11"], "eth0", lab.directory / "b11.pcap") as other_b,
          Capture(lab["a11"], "eth0", lab.directory / "a11.pcap") as other_a):
        for host in ("a10", "b10"):
            lab[host].run("ping", "-b", "-n", "-c", 10, "-i", 0.02, "-W", 0.2, "-p", STRAY.hex(),
                          "10.10.0.255", check=False)
    table.row("broadcasts of segment 10 at b10", f"{len(own.having(STRAY))} frames",
              len(own.having(STRAY)) >= 20)
    table.row("the same at b11", f"{len(other_b.having(STRAY))} frames", not other_b.having(STRAY))
    # Site A's trunk carries both VLANs to both hosts; a stray is one outside VLAN 10.
    strays = [frame for frame in other_a.having(STRAY) if vlan_of(frame) != 10]
    table.row("the same at a11, outside VLAN 10", f"{len(strays)} frames", not strays)


def check_throughput(lab, table):
    table.title("throughput, iperf3 on segment 10")
    for arrow, options in (("A to B", ()), ("B to A", ("-R",))):
        end = iperf(lab["b10"], lab["a10"], "10.10.0.2", *options)
        rate = end["sum_received"]["bits_per_second"] / 1e9
        table.figure(f"TCP, {arrow}", f"{rate:.2f} Gbit/s (at least {TCP_GBITS})", rate >= TCP_GBITS)
    end = iperf(lab["b10"], lab["a10"], "10.10.0.2", "-u", "-b", f"{UDP_MBITS}M", "-l", 1400)["sum"]
    table.figure(f"UDP, {UDP_MBITS} Mbit/s offered, A to B",
              f"{end['lost_percent']:.2f} % lost (at most {UDP_LOSS_PERCENT:g})",
              end["lost_percent"] <= UDP_LOSS_PERCENT)


def check_idle(lab, table):
    table.title("idle")
    for site, percent in zip("AB", cpu_percent((lab.a, lab.b))):
        table.figure(f"processor use of {site}", f"{percent:.1f} % (at most {IDLE_CPU_PERCENT:g})",
                  percent <= IDLE_CPU_PERCENT)


def check_recovery(lab, table):
    table.title("recovery")
    lab.a.kill()
    began = time.monotonic()
    lab.a.start()
    seconds_until_ping(lab["a10"], "10.10.0.2")
    seconds_until_ping(lab["a11"], "10.11.0.2")
    seconds = time.monotonic() - began
    alive = all(ping_times(lab[f"a{number}"], right, count=3)
                for number, (*_, right) in SEGMENTS.items())
    table.row("A killed with -9, restarted; traffic back", f"{seconds:.2f} s (at most {RECOVERY_S:g})",
              alive and seconds <= RECOVERY_S)


def check_stop(lab, table):
    table.title("end")
    for site, appliance in (("B", lab.b), ("A", lab.a)):
        seconds = appliance.stop()
        code = appliance.process.returncode
        table.row(f"{site} ends on SIGTERM", f"{seconds:.2f} s, exit {code} (at most {STOP_S:g} s)",
                  seconds <= STOP_S and code == 0)


CHECKS = (check_ping, check_wan, check_macs, check_isolation, check_throughput, check_idle, check_recovery)


def run_checks(lab, table, checks):
    """Runs each check; one that breaks down has failed, and the next still runs."""
    for check in checks:
        try:
            check(lab, table)
        except Exception as error:
            traceback.print_exc()
            table.row(check.__name__, type(error).__name__, False)


def print_walk(lab):
    print("  It stays up. Walk in with:\n")
    for name, what in (("a10", "host in VLAN 10 at A"), ("b10", "host behind VXLAN 5010 at B"),
                       ("a11", "host in VLAN 11 at A"), ("b11", "host in VLAN 111 at B"),
                       ("a", "appliance A, server"), ("b", "appliance B, client"),
                       ("wan", "the WAN: tcpdump -i br0")):
        print(f"    ip netns exec {lab[name].name:<14} bash    # {what}")
    print("\n  Ask an appliance:\n")
    for appliance in (lab.a, lab.b):
        print(f"    {lab.binary} show service l2vpn --socket {appliance.socket}")
    print(f"\n  Configurations and logs: {lab.directory}\n  Remove it: ./dev demo --down\n")


def main():
    parser = argparse.ArgumentParser(description="Two sites, one network: the demo.")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--down", action="store_true", help="remove labs that were left up")
    parser.add_argument("--no-limits", action="store_true", help="show speeds without judging them")
    arguments = parser.parse_args()
    if arguments.down:
        print(f"{remove_abandoned()} removed")
        return 0

    table = Table(limits=not arguments.no_limits)
    with Lab() as lab:
        print("\n  Causeway: two sites, one network")
        table.title("session")
        table.row("up, both ends", f"after {lab.start():.2f} s", True)
        run_checks(lab, table, CHECKS)
        if arguments.keep:
            lab.keep()
        else:
            run_checks(lab, table, (check_stop,))
        table.end()
        if arguments.keep:
            print_walk(lab)
        elif table.failed:
            for appliance in (lab.a, lab.b):
                print(f"--- last lines of appliance {appliance.name}\n{appliance.log()[-3000:]}")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
