"""Two hosts, two sites, one WAN cable, in network namespaces:

    hostA -- siteA -- WAN (MTU 1500) -- siteB -- hostB        10.5.0.1 ... 10.5.0.2, one subnet

All offloads of the cables are at their defaults. Namespaces are called `cwp<pid>-<name>`; leaving the `with` block removes
them and ends the processes that were started in them, and no others.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "e2e"))
from netns import Namespace, sh, veth  # noqa: E402

HOST_A, HOST_B = "10.5.0.1", "10.5.0.2"
WAN_A, WAN_B = "10.9.0.1", "10.9.0.2"


class Topology:
    """The cables and hosts; `spaces["ha"|"sa"|"sb"|"hb"]`. Daemons are started with `daemon`."""

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="causeway-perf-"))
        self.spaces, self.daemons = {}, []
        try:
            for name in ("ha", "sa", "sb", "hb"):
                self.spaces[name] = Namespace(f"cwp{os.getpid()}-{name}")
            veth(self["ha"], "eth0", self["sa"], "lan0")
            veth(self["hb"], "eth0", self["sb"], "lan0")
            veth(self["sa"], "wan0", self["sb"], "wan0")
            self["ha"].address("eth0", f"{HOST_A}/24")
            self["hb"].address("eth0", f"{HOST_B}/24")
            self["sa"].address("wan0", f"{WAN_A}/30")
            self["sb"].address("wan0", f"{WAN_B}/30")
            for name in ("sa", "sb"):
                self[name].no_ipv6("lan0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.daemons:
            process.terminate()
        for process in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for space in self.spaces.values():
            space.remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __getitem__(self, name):
        return self.spaces[name]

    def daemon(self, space, *words, **options):
        """Starts a daemon that stays in the foreground; its output goes to a file."""
        log = (self.directory / f"{space}-{len(self.daemons)}.log").open("wb")
        process = self[space].popen(*words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        self.daemons.append(process)
        return process

    def pids(self):
        """Every process at the two sites, those that forked too."""
        found = []
        for name in ("sa", "sb"):
            if name in self.spaces:
                found += [int(pid) for pid in sh("ip", "netns", "pids", self[name].name, check=False).split()]
        return found

    def bridge(self, *members):
        """Joins `lan0` at both sites with `members` by a Linux bridge."""
        for name in ("sa", "sb"):
            for member in members:
                self.wait_for(name, member)
                self[name].ip("link", "set", "dev", member, "mtu", 1500, "up")
            self[name].bridge("br0", "lan0", *members)

    def wait_for(self, name, device, timeout=10.0):
        deadline = time.monotonic() + timeout
        while subprocess.run(["ip", "-n", self[name].name, "link", "show", device], capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{device} did not appear at {name}")
            time.sleep(0.1)

    def offloads_off(self):
        """For ports that cannot take super-frames and unfinished checksums."""
        for name, device in (("ha", "eth0"), ("hb", "eth0"), ("sa", "lan0"), ("sb", "lan0"), ("sa", "wan0"), ("sb", "wan0")):
            self[name].run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", check=False)
