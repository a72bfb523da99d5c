"""Network namespaces, veth pairs and VLAN hosts: the parts a lab is made of.

Everything is done by `ip`, `tc` and `ethtool`, so that what a lab does can be repeated by hand.
"""

import functools
import pathlib
import platform
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


class CommandFailed(Exception):
    """A command ended with an error; the message has the command and what it said."""


def sh(*command, check=True, input=None, timeout=60):
    """Runs a command to its end and returns what it wrote to stdout."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=input, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Namespace:
    """One network namespace; `name` is what `ip netns exec` takes."""

    def __init__(self, name):
        self.name = name
        sh("ip", "netns", "add", name)
        self.ip("link", "set", "dev", "lo", "up")

    def ip(self, *words):
        return sh("ip", "-n", self.name, *words)

    def command(self, *words):
        """The words that run a command inside."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words, **options):
        """Runs a command inside to its end and returns its stdout."""
        return sh(*self.command(*words), **options)

    def popen(self, *words, **options):
        """Starts a command inside. `ip netns exec` replaces itself, so the PID is the command's."""
        return subprocess.Popen(self.command(*words), **options)

    def remove(self):
        sh("ip", "netns", "delete", self.name, check=False)

    def mac(self, interface):
        """The MAC address of an interface, in the usual notation."""
        return self.run("cat", f"/sys/class/net/{interface}/address").strip()

    def address(self, interface, *addresses):
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.ip("address", "add", address, "dev", interface, *nodad)

    def no_ipv6(self, interface):
        """Keeps the kernel from speaking on an interface that belongs to a port."""
        path = f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
        self.run("sh", "-c", f"test ! -e {path} || echo 1 > {path}")

    def bridge(self, name, *members):
        """A plain bridge, transparent to VLAN tags."""
        self.ip("link", "add", name, "type", "bridge", "mcast_snooping", "0")
        self.no_ipv6(name)
        for member in members:
            self.ip("link", "set", "dev", member, "master", name)
            self.no_ipv6(member)
        self.ip("link", "set", "dev", name, "up")


def veth(left, left_name, right, right_name, mtu=1500):
    """Joins two namespaces by a cable and sets both ends up; all offloads are at their defaults."""
    sh("ip", "link", "add", left_name, "netns", left.name, "mtu", mtu,
       "type", "veth", "peer", "name", right_name, "netns", right.name, "mtu", mtu)
    for namespace, name in ((left, left_name), (right, right_name)):
        namespace.ip("link", "set", "dev", name, "up")


def vlan_interface(host, interface, vlan, scratch, service=None):
    """Puts a host behind VLAN `vlan` of its interface, inside the service VLAN `service` if there is one; returns the
    interface that takes the address."""
    if kernel_has_vlans():
        host.no_ipv6(interface)
        for tag, protocol in ((service, "802.1ad"), (vlan, "802.1Q")):
            if tag is not None:
                name = f"{interface}.{tag}"
                host.ip("link", "add", "link", interface, "name", name, "type", "vlan", "proto", protocol, "id", tag)
                host.ip("link", "set", "dev", name, "up")
                interface = name
        return interface
    program = compile_vlan_program(vlan, service, scratch)
    host.run("tc", "qdisc", "add", "dev", interface, "clsact")
    for direction, section in (("egress", "tc_push"), ("ingress", "tc_pop")):
        host.run("tc", "filter", "add", "dev", interface, direction,
                 "bpf", "direct-action", "object-file", program, "section", section)
    return interface


@functools.cache
def kernel_has_vlans():
    """Whether this kernel makes 802.1Q interfaces; tried in a namespace that goes away again."""
    script = "ip link add d0 type dummy && ip link add link d0 name d0.1 type vlan id 1"
    tried = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True)
    if tried.returncode == 0:
        return True
    script = script.replace("d0 type dummy", "d0 type veth peer name d1")  # no dummy devices either?
    return subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True).returncode == 0


def reflect(namespace, interface, scratch):
    """Gives back every frame that comes in by an interface, until `stop_reflecting`."""
    program = pathlib.Path(scratch) / "reflect.o"
    compile_program("reflect.bpf.c", program)
    namespace.run("tc", "qdisc", "add", "dev", interface, "clsact")
    namespace.run("tc", "filter", "add", "dev", interface, "ingress",
                  "bpf", "direct-action", "object-file", program, "section", "tc_reflect")


def stop_reflecting(namespace, interface):
    namespace.run("tc", "qdisc", "delete", "dev", interface, "clsact")


def compile_vlan_program(vlan, service, scratch):
    program = pathlib.Path(scratch) / f"vlan{service or ''}-{vlan}.o"
    tags = [f"-DVLAN={vlan}"] + ([f"-DSERVICE={service}"] if service is not None else [])
    compile_program("vlan.bpf.c", program, *tags)
    return program


def compile_program(source, program, *options):
    if not program.exists():
        sh("clang", "-O2", "-target", "bpf", *options, f"-I/usr/include/{platform.machine()}-linux-gnu",
           "-c", HERE / source, "-o", program)
