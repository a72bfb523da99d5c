"""Two sites in network namespaces, and an appliance at each.

    host a10  VLAN 10 \\                                              / VXLAN 5010  vtep -- host b10
                       a-lan -- lan0 [A] eth0 -- wan -- eth0 [B] lan0
    host a11  VLAN 11 /         server                  client  lan1 - VLAN 111 ------------ host b11

Tunnel 10 joins VLAN 10 at A with VNI 5010 at B, tunnel 11 joins VLAN 11 at A with VLAN 111 at B. Hosts
and VTEP are the kernel's. Namespaces are called `cw<pid>-<n>-<name>`, files are in one directory below
/tmp; closing the lab removes both, and ends the processes that it started and no others.
"""

import atexit
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from netns import Namespace, sh, veth, vlan_interface

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIRECTORIES = pathlib.Path("/tmp")
DIRECTORY_PREFIX = "causeway-lab-"
COUNT = itertools.count(1)  # labs of this process

NAMESPACES = ("wan", "a", "a-lan", "a10", "a11", "b", "vtep", "b10", "b11")
WAN_MTU = 1500
UNDERLAY_MTU = 1600
VNI = 5010
PASSWORD = "correct horse battery"
SERVER_ADDRESS = {"ipv4": "192.0.2.1", "ipv6": "fd00::1"}
STRANGER_ADDRESS = {"ipv4": "192.0.2.254", "ipv6": "fd00::fe"}
LISTEN = {"ipv4": "0.0.0.0:443", "ipv6": "[::]:443"}

SYSTEM = """\
[system]
workers = {workers}
idle = "adaptive"
socket = "{socket}"
state = "{socket}.state"

"""

# Ports and segments of site A, or of any other with VLANs on a trunk.
ONE_SEGMENT = """\
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:lan0"

[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"

[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "trunk0"
vlan = 10
"""
SITE_A = ONE_SEGMENT + """
[[segment]]
name = "voice"
tunnel_id = 11
[[segment.attachment]]
port = "trunk0"
vlan = 11
"""

SERVER = """
[server]
listen = "{listen}"
data_port = 443
certificate = "server.crt"
key = "server.key"

[[server.site]]
user = "branch"
verifier = "{verifier}"
segments = {segments}
"""

CLIENT = """
[client]
server = "{server}"
port = 443
user = "{user}"
password = "{password}"
fingerprint = "{fingerprint}"
"""

SERVER_CONFIG = 'mode = "server"\n\n' + SYSTEM + SITE_A + SERVER

# A client for whom segment "servers" is VLAN 10 on a trunk.
VLAN_CLIENT_CONFIG = 'mode = "client"\n\n' + SYSTEM + ONE_SEGMENT + CLIENT

CLIENT_CONFIG = 'mode = "client"\n\n' + SYSTEM + """\
[[port]]
name = "underlay"
role = "trunk"
device = "kernel:lan0"
mtu = {underlay_mtu}
[port.vtep]
local = "10.20.0.1"
remotes = ["10.20.0.2"]

[[port]]
name = "trunk1"
role = "trunk"
device = "kernel:lan1"

[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"

[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "underlay"
vni = {vni}

[[segment]]
name = "voice"
tunnel_id = 11
[[segment.attachment]]
port = "trunk1"
vlan = 111
""" + CLIENT


def causeway_binary():
    """The binary under test: CAUSEWAY_BIN, or what `cargo build --release` makes."""
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    path = pathlib.Path(os.environ.get("CAUSEWAY_BIN", pathlib.Path(target) / "release" / "causeway"))
    if not path.is_file():
        raise SystemExit(f"{path} does not exist: cargo build --release -p causeway")
    return path.resolve()


class Appliance:
    """One appliance: its namespace, configuration, log and, while it runs, process."""

    def __init__(self, lab, name, peers=1):
        self.lab = lab
        self.name = name
        self.peers = peers
        self.namespace = lab[name]
        self.config = lab.directory / f"{name}.toml"
        self.log_path = lab.directory / f"{name}.log"
        self.socket = lab.directory / f"{name}.sock"
        self.process = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = self.namespace.popen(
                self.lab.binary, "run", "-c", self.config, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.lab.write_state()

    def stop(self, how=signal.SIGTERM, timeout=10.0):
        """Sends a signal and returns how many seconds the process took to end."""
        began = time.monotonic()
        self.process.send_signal(how)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return time.monotonic() - began

    def kill(self):
        self.stop(signal.SIGKILL)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def show(self, *words):
        """What `causeway show WORDS --json` says, as Python values."""
        return json.loads(sh(self.lab.binary, "show", *words, "--json", "--socket", self.socket))

    def up(self):
        """Whether as many sessions of this appliance are up as it has peers."""
        try:
            sites = self.show("service", "l2vpn")["sites"]
        except Exception:
            return False
        return sum(site["state"] == "up" for site in sites) >= self.peers

    def drops(self):
        """Drop counters by name."""
        return self.show("counters")["drops"]

    def macs(self):
        """The MAC table as {(segment, mac): where}."""
        entries = self.show("mac-table")["entries"]
        return {(entry["segment"], entry["mac"].lower()): entry["where"] for entry in entries}

    def cpu_seconds(self):
        """Processor time of all threads so far."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()  # fields[0] is the third of proc(5)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self):
        return self.log_path.read_text(errors="replace")


class Topology:
    """Namespaces, appliances and files of one lab, a context manager: built on entry, removed on exit, whatever happens.

    `topology["a10"]` is a namespace. A subclass makes them in `build`, and puts its appliances into `appliances`.
    """

    def __init__(self):
        if os.geteuid() != 0:
            raise SystemExit("network namespaces need root: try again with sudo")
        self.binary = causeway_binary()
        run = f"{os.getpid()}-{next(COUNT)}"
        self.prefix = f"cw{run}-"
        self.directory = DIRECTORIES / f"{DIRECTORY_PREFIX}{run}"
        self.namespaces = {}
        self.appliances = []
        self.helpers = []  # processes beside the appliances that end with the lab
        self.kept = False
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))

    def __enter__(self):
        try:
            self.directory.mkdir()
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, name):
        return self.namespaces[name]

    def build(self):
        """Namespaces, cables, addresses and configurations; no appliance runs yet."""
        raise NotImplementedError

    def namespace(self, name):
        """Makes a namespace, which is removed with the others."""
        self.namespaces[name] = Namespace(self.prefix + name)
        self.write_state()
        return self.namespaces[name]

    def certificate(self):
        """The server's certificate, made once by the binary as an operator does; returns its fingerprint."""
        certificate = self.directory / "server"
        if not certificate.with_suffix(".crt").exists():
            sh(self.binary, "cert", "self-sign", "--cn", "vpn.lab", "--days", 30, "--out", certificate)
        return sh(self.binary, "cert", "fingerprint", f"{certificate}.crt").strip()

    def start(self, timeout=60.0):
        """Starts the appliances that do not run; returns the seconds until their sessions are up."""
        began = time.monotonic()
        for appliance in self.appliances:
            if not appliance.running():
                appliance.start()
        self.wait_up(timeout)
        return time.monotonic() - began

    def wait_up(self, timeout=60.0):
        """Waits until every appliance says that all its sessions are up."""
        deadline = time.monotonic() + timeout
        while not all(appliance.up() for appliance in self.appliances):
            for appliance in self.appliances:
                if not appliance.running():
                    raise RuntimeError(f"appliance {appliance.name} ended:\n{appliance.log()[-4000:]}")
            if time.monotonic() > deadline:
                logs = "".join(f"--- {x.name}\n{x.log()[-2000:]}" for x in self.appliances)
                raise TimeoutError(f"no session after {timeout} s\n{logs}")
            time.sleep(0.05)

    def write_state(self):
        """What `remove_abandoned` needs, should nobody close this lab."""
        state = {"owner": os.getpid(), "kept": self.kept,
                 "namespaces": [x.name for x in self.namespaces.values()],
                 "processes": [x.process.pid for x in self.appliances if x.running()] + [x.pid for x in self.helpers]}
        (self.directory / "lab.json").write_text(json.dumps(state))

    def keep(self):
        """Leaves everything up when this process ends; `remove_abandoned` removes it."""
        self.kept = True
        self.write_state()

    def close(self):
        """Ends the appliances and removes namespaces and files. Does nothing the second time."""
        if self.kept:
            return
        for appliance in reversed(self.appliances):
            if appliance.running():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    appliance.stop(timeout=3.0)
        for process in self.helpers:
            process.terminate()
            process.wait()
        self.helpers = []
        for namespace in self.namespaces.values():
            namespace.remove()
        self.namespaces = {}
        shutil.rmtree(self.directory, ignore_errors=True)


class Lab(Topology):
    """Two sites, the server A and the client B: `lab.a` and `lab.b` are the appliances."""

    def __init__(self, wan="ipv4", workers=1):
        super().__init__()
        self.wan = wan
        self.workers = workers
        self.a = self.b = None

    def build(self):
        for name in NAMESPACES:
            self.namespace(name)
        self.build_wan()
        self.build_site_a()
        self.build_site_b()
        self.a, self.b = Appliance(self, "a"), Appliance(self, "b")
        self.appliances = [self.a, self.b]
        self.write_configs()

    def build_wan(self):
        wan = self["wan"]
        for name, number in (("a", 1), ("b", 2)):
            veth(self[name], "eth0", wan, name, WAN_MTU)
            self[name].address("eth0", f"192.0.2.{number}/24", f"fd00::{number}/64")
        wan.bridge("br0", "a", "b")
        wan.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/br0/disable_ipv6")
        wan.address("br0", *(f"{STRANGER_ADDRESS[family]}/{length}"
                             for family, length in (("ipv4", 24), ("ipv6", 64))))

    def build_site_a(self):
        """Two VLAN hosts on one trunk, joined by a bridge that carries tagged frames."""
        lan = self["a-lan"]
        veth(self["a"], "lan0", lan, "trunk")
        self["a"].no_ipv6("lan0")
        for vlan in (10, 11):
            host = self[f"a{vlan}"]
            veth(host, "eth0", lan, f"host{vlan}")
            interface = vlan_interface(host, "eth0", vlan, self.directory)
            host.address(interface, f"10.{vlan}.0.1/24")
        lan.bridge("br0", "trunk", "host10", "host11")

    def build_site_b(self):
        """A kernel VTEP on one port, a VLAN host on the other."""
        vtep = self["vtep"]
        veth(self["b"], "lan0", vtep, "eth0", UNDERLAY_MTU)
        self["b"].address("lan0", "10.20.0.1/24")
        vtep.address("eth0", "10.20.0.2/24")
        vtep.ip("link", "add", "vxlan0", "mtu", 1500, "type", "vxlan", "id", VNI, "dev", "eth0",
                "local", "10.20.0.2", "remote", "10.20.0.1", "dstport", 4789)
        vtep.ip("link", "set", "dev", "vxlan0", "up")
        veth(self["b10"], "eth0", vtep, "host10")
        vtep.bridge("br0", "vxlan0", "host10")
        self["b10"].address("eth0", "10.10.0.2/24")

        veth(self["b"], "lan1", self["b11"], "eth0")
        self["b"].no_ipv6("lan1")
        interface = vlan_interface(self["b11"], "eth0", 111, self.directory)
        self["b11"].address(interface, "10.11.0.2/24")

    def write_configs(self, wan=None, password=PASSWORD):
        """Writes both configurations; credentials are made by the binary, as an operator does."""
        wan = wan or self.wan
        fingerprint = self.certificate()
        verifier = sh(self.binary, "passwd", input=PASSWORD + "\n").strip()
        cores = sorted(os.sched_getaffinity(0))
        self.a.config.write_text(SERVER_CONFIG.format(
            workers=cores[:self.workers], socket=self.a.socket, listen=LISTEN[wan], verifier=verifier,
            segments='["servers", "voice"]'))
        self.b.config.write_text(CLIENT_CONFIG.format(
            workers=cores[-self.workers:], socket=self.b.socket, underlay_mtu=UNDERLAY_MTU, vni=VNI,
            server=SERVER_ADDRESS[wan], user="branch", password=password, fingerprint=fingerprint))

    def vlan_client(self, appliance, user, server=SERVER_ADDRESS["ipv4"]):
        """Writes the configuration of a client for whom segment "servers" is VLAN 10 on `lan0`."""
        appliance.config.write_text(VLAN_CLIENT_CONFIG.format(
            workers=[max(os.sched_getaffinity(0))], socket=appliance.socket, server=server, user=user, password=PASSWORD,
            fingerprint=self.certificate()))

    def another_site(self, user):
        """Gives the server another site, with the same password and segments."""
        text = self.a.config.read_text()
        site = text[text.index("[[server.site]]"):].replace('"branch"', f'"{user}"')
        self.a.config.write_text(f"{text}\n{site}")

    def wan_like_a_wire(self):
        """No super-frames of records on the WAN's cables: what is captured there is what a line would carry."""
        for name in ("a", "b"):
            self[name].run("ethtool", "-K", "eth0", "tx-udp-segmentation", "off")


def remove_abandoned():
    """Removes labs that were kept, or whose owner died; returns how many."""
    count = 0
    for path in DIRECTORIES.glob(f"{DIRECTORY_PREFIX}*/lab.json"):
        state = json.loads(path.read_text())
        if not state["kept"] and pathlib.Path(f"/proc/{state['owner']}").exists():
            continue
        for pid in state["processes"]:
            end_process(pid, belongs_to=path.parent)
        for name in state["namespaces"]:
            sh("ip", "netns", "delete", name, check=False)
        shutil.rmtree(path.parent)
        count += 1
    return count


def end_process(pid, belongs_to):
    """Ends a process of a lab; the command line tells that the PID is not another's by now."""
    proc = pathlib.Path(f"/proc/{pid}")

    def ours():
        with contextlib.suppress(OSError):
            return str(belongs_to).encode() in (proc / "cmdline").read_bytes()
        return False

    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience
        if ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while ours() and time.monotonic() < deadline:
            time.sleep(0.02)
