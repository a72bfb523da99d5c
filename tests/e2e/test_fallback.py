"""UDP blocked and unblocked under traffic: records go over TCP 443 and back, and the session never goes down."""

import contextlib
import re
import subprocess
import threading
import time

import pytest

from lab import Lab
from tools import iperf, ping_times, pinging, seconds_until_ping

# Detection takes a second; the rest is for a loaded machine.
GAP = 3.0


@pytest.fixture(scope="module")
def lab():
    with Lab() as running:
        running.start()
        yield running


@contextlib.contextmanager
def blocked(lab, *rules):
    """Drops UDP to or from the data port on the WAN's bridge; `rules` narrow it."""
    wan = lab["wan"]
    chain = "add table bridge blocked; add chain bridge blocked way { type filter hook forward priority 0; }; "
    rules = rules or ("",)
    wan.run("nft", chain + "; ".join(f"add rule bridge blocked way {rule} meta l4proto udp drop" for rule in rules))
    try:
        yield
    finally:
        wan.run("nft", "delete table bridge blocked")


def transports(lab):
    return [x.show("service", "l2vpn")["sites"][0]["transport"] for x in (lab.a, lab.b)]


def wait_for(lab, transport, timeout=20.0):
    """Waits until both ends send by `transport`."""
    deadline = time.monotonic() + timeout
    while transports(lab) != [transport, transport]:
        assert time.monotonic() < deadline, f"{transports(lab)}\n{lab.a.log()[-1500:]}\n{lab.b.log()[-1500:]}"
        time.sleep(0.05)


def logged(appliance, since=0):
    """The transports that an appliance's log tells of, in order."""
    return re.findall(r"go by (TCP|UDP)", appliance.log()[since:])


class Pings:
    """Pings that are written down one by one: gaps and duplicates are found afterwards."""

    def __init__(self, host, address, interval=0.02):
        self.process = host.popen("ping", "-n", "-D", "-i", interval, address, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.thread.start()

    def stop(self):
        self.process.send_signal(2)
        self.process.wait(10)
        self.thread.join(10)

    def replies(self):
        return [float(m[1]) for line in self.lines if (m := re.match(r"\[([\d.]+)\].*icmp_seq", line))]

    def duplicates(self):
        return [line for line in self.lines if "DUP!" in line]

    def longest_gap(self):
        times = self.replies()
        return max(b - a for a, b in zip(times, times[1:]))


DIRECTIONS = {"both ways": ("",), "only to the server": ('iifname "b"',), "only to the client": ('iifname "a"',)}


@pytest.mark.parametrize("rules", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_blocked_udp_is_left_and_taken_again(lab, rules):
    wait_for(lab, "udp")
    before = [len(x.log()) for x in (lab.a, lab.b)]
    pings = Pings(lab["a10"], "10.10.0.2")
    try:
        time.sleep(1)
        with blocked(lab, *rules):
            wait_for(lab, "tcp")
            assert len(ping_times(lab["b11"], "10.11.0.1", count=20, interval=0.02)) == 20
            time.sleep(2)
        wait_for(lab, "udp")
        time.sleep(0.5)
    finally:
        pings.stop()
    assert pings.longest_gap() < GAP
    assert not pings.duplicates()
    for appliance, since in zip((lab.a, lab.b), before):
        assert logged(appliance, since) == ["TCP", "UDP"]
        assert "is down" not in appliance.log()


def test_a_tcp_flow_lives_through_both_changes(lab):
    wait_for(lab, "udp")
    report = {}

    def flow():
        report.update(iperf(lab["b10"], lab["a10"], "10.10.0.2", seconds=8))

    thread = threading.Thread(target=flow)
    thread.start()
    time.sleep(2)
    with blocked(lab):
        wait_for(lab, "tcp")
        time.sleep(2)
    wait_for(lab, "udp")
    thread.join(60)
    assert report["sum_received"]["bytes"] > 1_000_000
    assert all("is down" not in x.log() for x in (lab.a, lab.b))


def test_what_goes_over_tcp_is_decent_and_shown(lab):
    with blocked(lab):
        wait_for(lab, "tcp")
        forward = iperf(lab["b10"], lab["a10"], "10.10.0.2", seconds=3)["sum_received"]["bits_per_second"]
        back = iperf(lab["b10"], lab["a10"], "10.10.0.2", "-R", seconds=3)["sum_received"]["bits_per_second"]
        print(f"\nover TCP: {forward / 1e6:.0f} and {back / 1e6:.0f} Mbit/s")
        assert min(forward, back) > 5e6
        site = lab.a.show("service", "l2vpn")["sites"][0]
        assert site["state"] == "up" and "UDP" in site["transport_why"] and site["transport_s"] >= 0
        udp, tcp = site["paths"]
        assert (udp["transport"], tcp["transport"], tcp["state"]) == ("udp", "tcp", "up")
        assert tcp["counters"]["tx_records"] > 100 and tcp["counters"]["rx_records"] > 100
        # More than fits is dropped, not delayed.
        flood = lab["a10"].popen("iperf3", "-u", "-c", "10.10.0.2", "-b", "0", "-t", "2", stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        flood.wait(30)
        assert len(ping_times(lab["a10"], "10.10.0.2", count=5)) == 5
    wait_for(lab, "udp")


def test_keys_are_renewed_and_the_connection_replaced_while_tcp_carries_frames(lab):
    with blocked(lab):
        wait_for(lab, "tcp")
        with pinging(lab["a10"], "10.10.0.2") as pings:
            # The control connection is cut; the client makes another.
            lab["b"].run("ss", "-K", "dport", "=", ":443", check=False)
            deadline = time.monotonic() + 15
            while not lab.b.show("service", "l2vpn")["sites"][0]["renewals"]:
                assert time.monotonic() < deadline, lab.b.log()[-2000:]
                time.sleep(0.1)
            time.sleep(1)
        assert pings["received"] > pings["sent"] * 0.5
    wait_for(lab, "udp")
    assert all("is down" not in x.log() for x in (lab.a, lab.b))


def restart(lab, client=None, server=None):
    """Starts both ends anew with another `transport` each."""
    for appliance, section, transport in ((lab.a, "[server]", server), (lab.b, "[client]", client)):
        appliance.stop()
        text = re.sub(r'transport = ".*"\n', "", appliance.config.read_text())
        if transport:
            text = text.replace(section + "\n", f'{section}\ntransport = "{transport}"\n')
        appliance.config.write_text(text)
        appliance.start()
    lab.wait_up()


def works(lab):
    """Whether pings come through, once attachments have listened for loops."""
    return seconds_until_ping(lab["a10"], "10.10.0.2") < 10 and len(ping_times(lab["a10"], "10.10.0.2", count=10)) == 10


def test_a_session_comes_up_without_udp_and_can_do_without_it(lab):
    with blocked(lab):
        restart(lab)
        wait_for(lab, "tcp")
        assert works(lab)
    wait_for(lab, "udp")
    restart(lab, client="tcp")
    time.sleep(2)
    assert transports(lab) == ["tcp", "tcp"]
    assert works(lab)


def test_a_server_can_refuse(lab):
    restart(lab, server="udp")
    assert transports(lab) == ["udp", "udp"]
    assert len(lab.a.show("service", "l2vpn")["sites"][0]["paths"]) == 1
    with blocked(lab):
        deadline = time.monotonic() + 15
        while lab.a.up():
            assert time.monotonic() < deadline
            time.sleep(0.1)
