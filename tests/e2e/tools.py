"""Measuring and looking: ping, iperf3, captures. Each function does one thing in one namespace."""

import contextlib
import json
import math
import pathlib
import re
import statistics
import struct
import subprocess
import tempfile
import time

ETH_VLAN, ETH_IPV4, ETH_IPV6 = 0x8100, 0x0800, 0x86DD


def ping_times(host, address, count=5, interval=0.2, size=None, marker=None, dont_fragment=False):
    """Round-trip times in ms of the pings that were answered.

    `marker` fills the payload (at most 16 octets); the first 16 octets hold ping's own time stamp.
    """
    words = ["ping", "-n", "-c", count, "-i", interval]
    # With a deadline, ping waits for the last answer as for the others. What it sends meanwhile does not count.
    words += ["-W", 1] if count == 1 else ["-w", math.ceil(count * interval) + 2]
    words += ["-s", size] if size is not None else []
    words += ["-p", marker.hex()] if marker else []
    words += ["-M", "do"] if dont_fragment else []
    output = host.run(*words, address, check=False)
    found = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", output)
    return [float(ms) for number, ms in found if int(number) <= count]


def median(values):
    return statistics.median(values) if values else float("nan")


def seconds_until_ping(host, address, timeout=30.0):
    """How long it takes until a ping is answered; inf when it is not within `timeout`."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < timeout:
        if ping_times(host, address, count=1, interval=0.2):
            return elapsed
    return float("inf")


def iperf(server, client, address, *options, seconds=4):
    """One iperf3 run; returns the "end" part of the client's report."""
    with server.popen("iperf3", "-s", "-1", "-p", 5201, stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) as listening:
        try:
            wait_for_listener(server, 5201)
            report = json.loads(client.run("iperf3", "--json", "-c", address, "-p", 5201, "-t", seconds,
                                           "--connect-timeout", 3000, *options, check=False,
                                           timeout=seconds + 30))
        finally:
            listening.terminate()
    if "error" in report:
        raise RuntimeError(f"iperf3: {report['error']}")
    return report["end"]


def wait_for_listener(namespace, port, timeout=30.0):
    deadline = time.monotonic() + timeout
    while f":{port}" not in namespace.run("ss", "-Hltn", f"sport = :{port}"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on TCP {port}")
        time.sleep(0.02)


PROXY = """\
Port 3128
Listen {address}
Timeout 600
MaxClients 20
BasicAuth branch sesame
ConnectPort {port}
LogLevel Info
LogFile "{directory}/tinyproxy.log"
"""


def start_proxy(namespace, address, directory, port=443):
    """An HTTP proxy on TCP 3128, for a user "branch" with the password "sesame", that connects to one port; returns its process."""
    config = pathlib.Path(directory) / "tinyproxy.conf"
    config.write_text(PROXY.format(address=address, port=port, directory=directory))
    process = namespace.popen("tinyproxy", "-d", "-c", config)
    wait_for_listener(namespace, 3128)
    return process


def cpu_percent(appliances, seconds=3.0):
    """Processor use of each appliance over the next seconds, in percent of one core."""
    before = [appliance.cpu_seconds() for appliance in appliances]
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    return [100 * (appliance.cpu_seconds() - start) / elapsed
            for appliance, start in zip(appliances, before)]


class Capture:
    """A tcpdump on one interface while the `with` block runs; then `frames` are its frames."""

    def __init__(self, namespace, interface, path, expression=""):
        self.path = pathlib.Path(path)
        self.frames = []
        self.process = namespace.popen(
            "tcpdump", "-i", interface, "-n", "-s", 0, "-U", "--immediate-mode", "-B", 16384, "-Z", "root", "-w", self.path,
            *expression.split(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                return
        raise RuntimeError(f"tcpdump does not listen on {interface} of {namespace.name}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        time.sleep(0.3)  # the kernel hands over its blocks a moment later
        self.process.terminate()
        self.process.communicate()
        self.frames = list(read_pcap(self.path))

    def wait(self, text, count, timeout=10.0):
        """Waits, while it runs, until so many frames with `text` are there."""
        wait_until(lambda: sum(text in frame for frame in read_pcap(self.path)) >= count, f"{count} frames", timeout)

    def having(self, text):
        """The frames in which `text` occurs."""
        return [frame for frame in self.frames if text in frame]


def read_pcap(path):
    """The frames of a capture in the classic format, Ethernet only."""
    data = pathlib.Path(path).read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from(order + "I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def vlan_of(frame):
    """The VLAN ID of a frame, None without a tag."""
    kind, tag = struct.unpack_from("!HH", frame, 12)
    return tag & 0xFFF if kind == ETH_VLAN else None


def is_ip_fragment(frame):
    """Whether an untagged frame is a fragment of an IPv4 or IPv6 packet."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == ETH_IPV4:
        return struct.unpack_from("!H", frame, 20)[0] & 0x3FFF != 0  # MF, or an offset
    return kind == ETH_IPV6 and frame[20] == 44


def is_record(frame, port=443):
    """Whether an untagged frame is a UDP datagram to or from the data port."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == ETH_IPV4 and frame[23] == 17:
        at = 14 + 4 * (frame[14] & 15)
    elif kind == ETH_IPV6 and frame[20] == 17:
        at = 54
    else:
        return False
    return port in struct.unpack_from("!HH", frame, at)


def inject(namespace, interface, frames):
    """Sends raw frames out of an interface."""
    script = pathlib.Path(__file__).with_name("inject.py")
    lines = "".join(bytes(frame).hex() + "\n" for frame in frames)
    namespace.run("/usr/bin/python3", script, "frames", interface, input=lines)


@contextlib.contextmanager
def started_ping(host, *words):
    """A ping while the block runs; yields a function that ends it and returns what it said. That goes to a file: nobody reads a pipe
    meanwhile, and ping stands still when it is full."""
    with tempfile.TemporaryFile("w+") as said:
        process = host.popen("ping", "-n", *words, stdout=said)

        def end():
            process.send_signal(2)  # SIGINT: ping prints its summary
            process.wait()
            said.seek(0)
            return said.read()

        try:
            yield end
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def pinging(host, address, interval=0.02):
    """Pings while the block runs; yields a dict that then holds `sent` and `received`, without what was in flight at the
    end, which on a busy machine may be what was sent in the last 0.3 s."""
    result = {}
    with started_ping(host, "-i", interval, address) as ended:
        yield result
        output = ended()
        summary = re.search(r"(\d+) packets transmitted, (\d+) received", output)
        sent, received = map(int, summary.groups()) if summary else (0, 0)
        last = max((int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)), default=0)
        in_flight = min(sent - last, 1 + int(0.3 / interval))
        result.update(sent=sent - in_flight, received=received)


@contextlib.contextmanager
def timing(host, address, interval=0.05, size=56):
    """Pings while the block runs; yields a dict that then holds `gap`: the longest time without an answer, in seconds."""
    result = {}
    with started_ping(host, "-D", "-i", interval, "-s", size, address) as stop:
        began = time.time()
        yield result
        ended = time.time()
        output = stop()
        answers = [float(at) for at in re.findall(r"^\[([\d.]+)\] \d+ bytes from", output, re.MULTILINE)]
        times = [began, *answers, ended]
        result["gap"] = max(after - before for before, after in zip(times, times[1:]))
        result["received"] = len(answers)


def wait_until(holds, what, timeout=30.0):
    """Waits until `holds()` is true; an error of it counts as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(Exception):
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(0.05)
