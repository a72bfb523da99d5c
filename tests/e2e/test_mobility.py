"""A host that moves from one site to another with its addresses is reachable at once, from everywhere, whatever it says first."""

import re
import time

import pytest
from scapy.all import ARP, Ether, ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6, Raw

from hub import HubLab
from netns import veth, vlan_interface
from tools import Capture, inject, ping_times, pinging, seconds_until_ping

MAC = "02:77:00:00:00:01"
ADDRESS, ADDRESS6 = "10.10.0.77", "fd10:10::77"
BROADCAST, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"


@pytest.fixture(scope="module")
def hub():
    with HubLab() as lab:
        lab.mobile = lab.namespace("mobile")
        lab.mobile.run("nft", "add table ip6 quiet; add chain ip6 quiet out { type filter hook output priority 0; }; "
                              "add rule ip6 quiet out icmpv6 type { mld-listener-report, mld2-listener-report } drop")
        lab.start(timeout=30)
        yield lab


def wait(condition, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.05)
    return found


def settle(hub, site, vlan=None, ipv6=False):
    """Plugs the mobile host into the network of a site; it says nothing. Returns its interface."""
    host, lan = hub.mobile, hub[f"{site}-lan"]
    if "eth0" in host.run("ip", "-br", "link"):
        host.ip("link", "delete", "dev", "eth0")
    veth(host, "eth0", lan, "mobile")
    host.ip("link", "set", "dev", "eth0", "address", MAC)
    host.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
    lan.ip("link", "set", "dev", "mobile", "master", "br0")
    lan.no_ipv6("mobile")
    interface = vlan_interface(host, "eth0", vlan, hub.directory) if vlan else "eth0"
    if interface != "eth0":
        host.no_ipv6(interface)
    host.address(interface, f"{ADDRESS}/24")
    if ipv6:
        # No link-local address, nor a question whether an address is another's. Which groups it is in goes nowhere either.
        settings = f"/proc/sys/net/ipv6/conf/{interface}"
        host.run("sh", "-c", f"echo 1 > {settings}/addr_gen_mode; echo 0 > {settings}/accept_dad; echo 0 > {settings}/disable_ipv6")
        host.address(interface, f"{ADDRESS6}/64")
    return interface


@pytest.fixture(autouse=True)
def not_pinned(hub):
    """The moves of the test before do not count: five in three minutes would pin the address."""
    for appliance in hub.appliances:
        appliance.namespace.run(hub.binary, "clear", "duplicates", "--socket", appliance.socket)


def where(appliance):
    return appliance.macs().get(("servers", MAC), "")


def is_at(hub, site):
    """Whether every appliance that knows the host has it at this site."""
    known = {name: where(hub.spokes.get(name, hub.hub)) for name in ("hub", "s1", "s2", "s3")}
    here, away = known[site], [known[name] for name in known if name not in (site, "hub")]
    return here.startswith("trunk0") and known["hub"] == f"site {site}" and all("trunk0" not in x for x in away)


def answers(hub):
    return len(ping_times(hub["hub-servers"], ADDRESS, count=3)) == 3 and len(ping_times(hub["s2-servers"], ADDRESS, count=3)) == 3


def gratuitous(hub, interface):
    inject(hub.mobile, interface, [Ether(src=MAC, dst=BROADCAST) / ARP(op=1, hwsrc=MAC, psrc=ADDRESS, pdst=ADDRESS)])


def reverse_arp(hub, interface):
    """What a hypervisor sends for a machine that has arrived."""
    inject(hub.mobile, interface, [Ether(src=MAC, dst=BROADCAST, type=0x8035) / ARP(op=3, hwsrc=MAC, hwdst=MAC, psrc="0.0.0.0", pdst="0.0.0.0")])


def one_frame(hub, interface):
    """A frame to one station of another site: nobody else hears it."""
    inject(hub.mobile, interface, [Ether(src=MAC, dst=hub["s2-servers"].mac("eth0")) / Raw(b"here I am" * 6)])


@pytest.mark.parametrize("says", [gratuitous, reverse_arp, one_frame])
def test_a_host_that_moved_is_reachable_at_once(hub, says):
    settle(hub, "s1", 110)
    assert seconds_until_ping(hub.mobile, hub.hosts["servers"]["hub-servers"]) < 10
    assert answers(hub)
    wait(lambda: is_at(hub, "s1"))
    with pinging(hub["hub-servers"], ADDRESS, 0.02) as pings:
        time.sleep(0.3)
        interface = settle(hub, "s3")
        says(hub, interface)
        wait(lambda: is_at(hub, "s3"))
        wait(lambda: ping_times(hub["hub-servers"], ADDRESS, count=1))
        assert ping_times(hub["s1-servers"], ADDRESS, count=1), "the site that it left"
        time.sleep(0.5)
    assert answers(hub)
    assert pings["sent"] - pings["received"] < 100, pings
    # And back again, under the traffic of the others.
    interface = settle(hub, "s1", 110)
    says(hub, interface)
    wait(lambda: is_at(hub, "s1"))
    assert answers(hub) and ping_times(hub["s3-servers"], ADDRESS, count=1)


def test_a_host_of_ipv6_that_moved_is_reachable_after_its_advertisement(hub):
    """An unsolicited neighbour advertisement (RFC 4861 7.2.6) is all that the network hears of it."""
    settle(hub, "s1", 110, ipv6=True)
    for host in ("hub-servers", "s2-servers"):
        assert seconds_until_ping(hub[host], ADDRESS6) < 10
    wait(lambda: is_at(hub, "s1"))
    interface = settle(hub, "s3", ipv6=True)
    assert where(hub.hub) == "site s1", "it has said nothing yet"
    inject(hub.mobile, interface, [Ether(src=MAC, dst=ALL_NODES) / IPv6(src=ADDRESS6, dst="ff02::1", hlim=255)
                                   / ICMPv6ND_NA(tgt=ADDRESS6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=MAC)])
    wait(lambda: is_at(hub, "s3"), 3)
    for host in ("hub-servers", "s2-servers", "s1-servers"):
        assert seconds_until_ping(hub[host], ADDRESS6) < 10, f"from {host}"
    assert is_at(hub, "s3")


def test_who_moves_unheard_is_announced_by_the_appliances(hub, tmp_path):
    """The frame goes to one station; the network that the host has left learns of it all the same."""
    settle(hub, "s1", 110)
    assert seconds_until_ping(hub.mobile, hub.hosts["servers"]["s3-servers"]) < 10
    wait(lambda: is_at(hub, "s1"))
    with Capture(hub["s1-servers"], "eth0", tmp_path / "rarp.pcap", "ether broadcast") as capture:
        one_frame(hub, settle(hub, "s3"))
        wait(lambda: is_at(hub, "s3"))
        time.sleep(0.3)
    mac = bytes.fromhex(MAC.replace(":", ""))
    told = [frame for frame in capture.frames if frame[6:12] == mac and b"\x80\x35" in frame[12:20]]
    assert len(told) in (1, 2)
    assert re.search(rf"{MAC}", hub["s1-lan"].run("bridge", "fdb", "show", "br", "br0"))


def test_an_address_at_two_places_is_pinned_to_one(hub):
    """Two hosts with one address: after five moves it counts where it was last, until an operator has mended that."""
    twin = "02:77:00:00:00:02"
    frame = Ether(src=twin, dst=BROADCAST) / Raw(b"which is the real" * 4)
    for _ in range(5):
        for host in ("s1-servers", "s3-servers"):
            interface = re.search(r"^\d+: (\S+)\s+inet 10\.10\.", hub[host].run("ip", "-o", "-4", "address"), re.MULTILINE).group(1)
            inject(hub[host], interface, [frame])
            time.sleep(0.5)
    def pinned():
        return [entry for entry in hub.hub.show("mac-table")["entries"] if entry["mac"] == twin and entry["pinned"]]
    assert wait(pinned)
    [duplicate] = [x for x in hub.hub.show("mac-table")["duplicates"] if x["mac"] == twin]
    assert {duplicate["at"], duplicate["also"]} == {"site s1", "site s3"} and duplicate["moves"] == 5
    assert sum(appliance.drops()["duplicate_mac"] for appliance in hub.appliances) > 0
    assert "moves to and fro" in hub.hub.log() and twin in hub.hub.log()
    said = hub.hub.namespace.run(hub.binary, "clear", "duplicates", twin, "--socket", hub.hub.socket)
    assert "may move again" in said and not pinned()
