"""Gateways, egress optimization, routed networks, and changes on the running appliance."""

import re
import signal
import time

import pytest
from scapy.all import (ARP, IP, TCP, Ether, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_RS, IPv6,
                       Raw)

from asking import command, segment_test
from lab import Lab
from netns import veth
from tools import Capture, inject, iperf, ping_times, pinging, seconds_until_ping, wait_until

GATEWAY, GATEWAY6 = "10.10.0.254", "fd10::fe"
ADDRESSES = {"ipv4": "10.10.0.", "ipv6": "fd10::"}  # of the hosts in segment "servers"
GATEWAY_CONFIG = f"""
[segment.gateway]
addresses = ["{GATEWAY}/24", "{GATEWAY6}/64"]
egress = ["{GATEWAY}", "{GATEWAY6}"]
"""


def transit(here, there, network):
    """A segment that is a routed link, and a route over it."""
    return f"""
[[segment]]
name = "transit"
tunnel_id = 4000
[segment.gateway]
addresses = ["10.255.0.{here}/30"]
routes = [{{ to = "{network}", via = "10.255.0.{there}" }}]
"""


def in_segment(appliance, name, text):
    """Adds `text` to a segment's configuration."""
    config = appliance.config.read_text()
    changed = re.sub(rf'(name = "{name}"\ntunnel_id = \d+\n)', rf"\1{text}", config)
    assert changed != config
    appliance.config.write_text(changed)


def reload(appliance):
    """Puts the configuration in force and waits until it is."""
    appliance.namespace.run(appliance.lab.binary, "reload", "--socket", appliance.socket)


@pytest.fixture(scope="module")
def gateways():
    with Lab() as lab:
        for appliance, transit_config in ((lab.a, transit(1, 2, "10.92.0.0/16")), (lab.b, transit(2, 1, "10.91.0.0/16"))):
            in_segment(appliance, "servers", GATEWAY_CONFIG)
            config = appliance.config.read_text().replace('segments = ["servers", "voice"]\n', "")
            appliance.config.write_text(config + transit_config)
        for host, number in (("a10", 1), ("b10", 2)):
            lab[host].address("eth0" if host == "b10" else next(iter(interfaces(lab[host]))), f"fd10::{number}/64")
        lab.start()
        yield lab


def interfaces(host):
    """The interfaces of a host that have an address of segment "servers"."""
    return re.findall(r"^\d+: (\S+)\s+inet 10\.10\.", host.run("ip", "-o", "-4", "address"), re.MULTILINE)


def neighbour(host, address):
    """The MAC address that a host has for another, after it has asked. Just after a start the loop guard may still listen."""
    seconds_until_ping(host, address, timeout=5)
    found = re.search(r"lladdr (\S+)", host.run("ip", "neigh", "show", address))
    return found and found.group(1)


@pytest.mark.parametrize("address", [GATEWAY, GATEWAY6])
def test_the_same_gateway_is_another_at_each_site(gateways, address):
    macs = [appliance.show("segments")["segments"][0]["gateway"]["mac"] for appliance in (gateways.a, gateways.b)]
    assert macs[0] != macs[1]
    for host, mac in (("a10", macs[0]), ("b10", macs[1])):
        assert neighbour(gateways[host], address) == mac
        assert len(ping_times(gateways[host], address)) == 5
    assert len(ping_times(gateways["a10"], "10.10.0.2")) == 5, "everything else is bridged"


def about_the_gateway(frame):
    """Whether a frame asks for the gateway, answers for it, or announces it: ARP, and neighbour and router discovery."""
    ether = Ether(frame)
    if ether.haslayer(ARP):
        return GATEWAY in (ether.psrc, ether.pdst)
    asked = ether.getlayer(ICMPv6ND_NS) or ether.getlayer(ICMPv6ND_NA)
    return ether.haslayer(ICMPv6ND_RA) or (asked is not None and GATEWAY6 in (ether[IPv6].src, asked.tgt))


def test_nothing_about_the_gateway_crosses(gateways, tmp_path):
    with Capture(gateways["b10"], "eth0", tmp_path / "b.pcap", "arp or icmp6") as capture:
        gateways["a10"].ip("neigh", "flush", "all")
        ping_times(gateways["a10"], GATEWAY)
        ping_times(gateways["a10"], GATEWAY6)
        gateways["a"].run("arping", "-q", "-U", "-c", "2", "-I", "cw10", GATEWAY, check=False)
        ping_times(gateways["a10"], "10.10.0.2", count=1)
    # What b10 and its own gateway say to each other is theirs: the kernel checks its neighbours when it likes.
    of_this_site = {gateways["b10"].mac("eth0"), gateways.b.show("segments")["segments"][0]["gateway"]["mac"]}
    crossed = [frame for frame in capture.frames if Ether(frame).src not in of_this_site]
    assert [frame for frame in crossed if about_the_gateway(frame)] == []
    assert any(Ether(frame).haslayer(ARP) and Ether(frame).psrc == "10.10.0.1" for frame in crossed), "the capture sees what crosses"
    assert gateways.a.drops()["egress_filtered"] > 0


def test_the_gateway_answers_with_the_tunnel_down_and_a_moved_host_keeps_its_traffic(gateways):
    gateways["wan"].ip("link", "set", "dev", "a", "down")
    try:
        for host in ("a10", "b10"):
            assert len(ping_times(gateways[host], GATEWAY)) == 5
            assert len(ping_times(gateways[host], GATEWAY6)) == 5
    finally:
        gateways["wan"].ip("link", "set", "dev", "a", "up")
        gateways.wait_up()


def test_a_host_that_moves_keeps_its_gateway_after_its_next_arp(gateways):
    """The host a10 appears at B with its addresses and what it knew: the gateway of A, whose frames no longer arrive."""
    interface = next(iter(interfaces(gateways["a10"])))
    old_gateway, new_gateway = (x.show("segments")["segments"][0]["gateway"]["mac"] for x in (gateways.a, gateways.b))
    host, own = gateways["b10"], gateways["b10"].mac("eth0")
    assert len(ping_times(gateways["a10"], GATEWAY)) == 5
    moved = gateways["a10"].mac(interface)
    gateways["a10"].ip("link", "set", "dev", interface, "down")
    try:
        host.ip("address", "flush", "dev", "eth0")
        host.ip("link", "set", "dev", "eth0", "down")
        host.ip("link", "set", "dev", "eth0", "address", moved, "up")
        host.address("eth0", "10.10.0.1/24")
        host.ip("neigh", "replace", GATEWAY, "lladdr", old_gateway, "dev", "eth0", "nud", "permanent")
        before = gateways.b.drops()["egress_filtered"] + gateways.a.drops()["egress_filtered"]
        assert ping_times(host, GATEWAY, count=2) == [], "frames to the other site's gateway stay out of the tunnel"
        assert gateways.b.drops()["egress_filtered"] + gateways.a.drops()["egress_filtered"] > before
        host.ip("neigh", "del", GATEWAY, "dev", "eth0")
        assert len(ping_times(host, GATEWAY)) == 5
        assert new_gateway in host.run("ip", "neigh", "show", GATEWAY)
    finally:
        host.ip("address", "flush", "dev", "eth0")
        host.ip("link", "set", "dev", "eth0", "down")
        host.ip("link", "set", "dev", "eth0", "address", own, "up")
        host.address("eth0", "10.10.0.2/24", "fd10::2/64")
        gateways["a10"].ip("link", "set", "dev", interface, "up")
        gateways["a10"].address(interface, "fd10::1/64")  # which Linux drops when the interface goes down
    assert len(ping_times(gateways["a10"], "10.10.0.2")) == 5


HOST = "02:00:00:00:00:77"
ALL_NODES, ALL_ROUTERS = "33:33:00:00:00:01", "33:33:00:00:00:02"


def arp(**fields):
    return Ether(src=HOST, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=HOST, **fields)


def nd(message, src="fd10::77", dst="ff02::1"):
    return Ether(src=HOST, dst=ALL_NODES) / IPv6(src=src, dst=dst, hlim=255) / message


STAYS = [
    ("request", arp(op=1, psrc="10.10.0.77", pdst=GATEWAY)),
    ("probe", arp(op=1, psrc="0.0.0.0", pdst=GATEWAY)),
    ("gratuitous", arp(op=1, psrc=GATEWAY, pdst=GATEWAY)),
    ("reply", arp(op=2, psrc=GATEWAY, pdst="10.10.0.2")),
    ("solicitation", nd(ICMPv6ND_NS(tgt=GATEWAY6))),
    ("advertisement", nd(ICMPv6ND_NA(tgt=GATEWAY6))),
    ("from the gateway", nd(ICMPv6ND_NS(tgt="fd10::99"), src=GATEWAY6)),
    ("router solicitation", nd(ICMPv6ND_RS(), src="fe80::77")),
    ("router advertisement", nd(ICMPv6ND_RA(), src="fe80::77")),
]
CROSSES = [
    ("request for another", arp(op=1, psrc="10.10.0.77", pdst="10.10.0.99")),
    ("probe of another", arp(op=1, psrc="0.0.0.0", pdst="10.10.0.99")),
    ("solicitation for another", nd(ICMPv6ND_NS(tgt="fd10::99"))),
    ("IP to the gateway's address", Ether(src=HOST, dst="ff:ff:ff:ff:ff:ff") / IP(src="10.10.0.77", dst=GATEWAY) / Raw(b"x" * 40)),
]


@pytest.mark.parametrize("frame, crosses", [(frame, False) for _, frame in STAYS] + [(frame, True) for _, frame in CROSSES],
                         ids=[name for name, _ in STAYS + CROSSES])
def test_what_stays_at_its_site_and_what_crosses(gateways, tmp_path, frame, crosses):
    plain = bytes(frame)
    tagged = plain[:12] + bytes.fromhex("8100000a") + plain[12:]
    before = gateways.a.drops()["egress_filtered"]
    with Capture(gateways["b10"], "eth0", tmp_path / "b.pcap", f"ether src {HOST}") as capture:
        inject(gateways["a-lan"], "trunk", [tagged])
    assert len(capture.frames) == (1 if crosses else 0)
    assert crosses or gateways.a.drops()["egress_filtered"] > before


def behind(lab, site, network):
    """A host in a network of its own, for which a site's machine routes."""
    host = lab.namespace(f"behind-{network}")
    host.cable, host.router = f"to{network}", f"{network}.1"
    veth(lab[site], host.cable, host, "eth0")
    lab[site].address(host.cable, f"{network}.1/24")
    lab[site].run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    host.address("eth0", f"{network}.2/24")
    return host


def test_networks_that_are_not_stretched_are_reached_through_the_tunnel(gateways):
    """Hosts behind each router, which know nothing but their router."""
    left, right = (behind(gateways, site, network) for site, network in (("a", "10.91.1"), ("b", "10.92.1")))
    for host in (left, right):
        host.ip("route", "add", "default", "via", host.router)
    for host, other in ((left, "10.92.1.2"), (right, "10.91.1.2")):
        assert seconds_until_ping(host, other) < 10
        assert "ttl=62 " in host.run("ping", "-n", "-c", 1, other), "two routers are between them"
    assert iperf(right, left, "10.92.1.2", seconds=1)["sum_received"]["bytes"] > 1_000_000


def test_a_segment_gets_out_by_nat_on_its_gateway(gateways, tmp_path):
    """The host outside knows no way back: what it answers is the router's own address."""
    outside = behind(gateways, "a", "203.0.113")
    gateways["a"].run("nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; "
                             f"add rule ip nat out oifname \"{outside.cable}\" masquerade")
    gateways["a10"].ip("route", "add", "203.0.113.0/24", "via", GATEWAY)
    try:
        assert seconds_until_ping(gateways["a10"], "203.0.113.2") < 10
        with Capture(outside, "eth0", tmp_path / "out.pcap", "tcp port 5201") as capture:
            assert iperf(outside, gateways["a10"], "203.0.113.2", seconds=1)["sum_received"]["bytes"] > 1_000_000
        assert {Ether(frame)[IP].src for frame in capture.frames} == {"203.0.113.1", "203.0.113.2"}
    finally:
        gateways["a10"].ip("route", "delete", "203.0.113.0/24")
        gateways["a"].run("nft", "delete table ip nat")


def test_redirects_are_off_and_can_be_on(gateways):
    def setting():
        path = "/proc/sys/net/ipv4/conf"
        return gateways["a"].run("cat", f"{path}/all/send_redirects", f"{path}/cw10/send_redirects").split()

    assert setting() == ["0", "0"]
    config = gateways.a.config.read_text()
    gateways.a.config.write_text(config.replace("[segment.gateway]\n", "[segment.gateway]\nsend_redirects = true\n", 1))
    reload(gateways.a)
    assert setting()[1] == "1"
    gateways.a.config.write_text(config)
    reload(gateways.a)
    assert setting()[1] == "0"


def test_changes_on_the_running_appliance_cost_no_frame_elsewhere(gateways):
    config = gateways.a.config.read_text()
    with pinging(gateways["a10"], "10.10.0.2", 0.005) as result:
        extra = ""
        for number in range(5):
            extra += f'\n[[segment]]\nname = "new{number}"\ntunnel_id = {100 + number}\n'
            extra += f'[[segment.attachment]]\nport = "trunk0"\nvlan = {100 + number}\n'
            extra += f'[[server.site]]\nuser = "site{number}"\nverifier = "{re.search("verifier = .(.*).", config).group(1)}"\n'
            gateways.a.config.write_text(config + extra)
            gateways.a.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        wait_until(lambda: len(gateways.a.show("segments")["segments"]) == 8, "the last SIGHUP is in force")
        assert len(gateways.a.show("service", "l2vpn")["sites"]) == 6
        gateways.a.config.write_text(config)
        reload(gateways.a)
        # A bad file changes nothing, and says why.
        gateways.a.config.write_text(config.replace("tunnel_id = 11", "tunnel_id = 9999"))
        with pytest.raises(Exception, match=r"a\.toml:\d+: segment\[2\]\.tunnel_id: 9999 is out of range"):
            reload(gateways.a)
        gateways.a.config.write_text(config.replace("data_port = 443", "data_port = 444"))
        with pytest.raises(Exception, match="server.data_port cannot change while the appliance runs"):
            reload(gateways.a)
        gateways.a.config.write_text(config)
        reload(gateways.a)
    assert result["sent"] > 100 and result["received"] == result["sent"], result
    assert len(gateways.a.show("segments")["segments"]) == 3


def test_a_disabled_site_is_down_and_comes_back(gateways):
    config = gateways.a.config.read_text()
    gateways.a.config.write_text(config.replace('user = "branch"\n', 'user = "branch"\nenabled = false\n'))
    reload(gateways.a)
    assert not gateways.a.up()
    gateways.a.config.write_text(config)
    reload(gateways.a)
    gateways.wait_up()


@pytest.mark.parametrize("family", ("ipv4", "ipv6"))
@pytest.mark.parametrize("source, target", (("a10", "b10"), ("b10", "a10")))
def test_handshakes_are_made_to_fit(gateways, tmp_path, source, target, family):
    """From the trunk at A, tagged, and from behind VXLAN at B: where they enter the tunnel."""
    ends = {name: (gateways[name].mac(interface), interface, f"{prefix}{number}") for name, number, prefix in
            (("a10", 1, ADDRESSES[family]), ("b10", 2, ADDRESSES[family])) for interface in interfaces(gateways[name])}
    (mac, interface, address), (other, seen_at, there) = ends[source], ends[target]
    assert seconds_until_ping(gateways[source], there) < 10
    network = IP(src=address, dst=there) if family == "ipv4" else IPv6(src=address, dst=there)
    most = 1460 if family == "ipv4" else 1440
    syn = Ether(src=mac, dst=other) / network / TCP(sport=4000, dport=9, flags="S", options=[("NOP", None), ("MSS", most)])
    appliance = gateways.a if source == "a10" else gateways.b

    def adjusted():
        return appliance.show("service", "l2vpn", "statistics", "segment", "servers")["mssAdjusted"]

    before = adjusted()
    with Capture(gateways[target], seen_at, tmp_path / "syn.pcap", f"ether src {mac}") as capture:
        if source == "a10":
            tagged = bytes(syn)
            inject(gateways["a-lan"], "trunk", [tagged[:12] + bytes.fromhex("8100a00a") + tagged[12:]])
        else:
            inject(gateways[source], interface, [syn])
        wait_until(lambda: adjusted() == before + 1, "one handshake is clamped")
    seen = [Ether(frame) for frame in capture.frames if TCP in Ether(frame) and Ether(frame)[TCP].dport == 9]
    assert len(seen) == 1
    mss = dict(seen[0][TCP].options)["MSS"]
    assert most - 160 < mss < most
    checksum = seen[0][TCP].chksum
    del seen[0][TCP].chksum
    assert Ether(bytes(seen[0]))[TCP].chksum == checksum


def test_a_host_is_pinged_from_the_gateway(gateways):
    """By ICMP, from the gateway's address and through the kernel; ARP and ND say beside it where the host is."""
    # Egress optimization keeps the gateway's frames at its site, so that a host at the other one is found by the question alone.
    for address, source, place, by in (("10.10.0.1", GATEWAY, "trunk0 VLAN 10", "icmp"), ("fd10::1", GATEWAY6, "trunk0 VLAN 10", "icmp"),
                                       ("10.10.0.2", GATEWAY, "site branch", "arp")):
        seconds_until_ping(gateways["a"], address, timeout=5)
        answer = command(gateways.a, "ping", "segment", "servers", address, "-c", "2")
        assert (answer["how"], answer["from"]) == ("icmp", source), answer
        assert answer["answered"] == 2 and [(probe["where"], probe["by"]) for probe in answer["probes"]] == [(place, by)] * 2, answer
    answer = command(gateways.a, "ping", "segment", "servers", "10.10.0.99", "-c", "1")
    assert answer["answered"] == 0 and answer["how"] == "icmp", "nobody is there"
    answer = command(gateways.a, "ping", "segment", "servers", "10.77.0.1", "-c", "1")
    assert (answer["how"], answer["from"]) == ("arp", None), "of another network"
    text = gateways["a"].run(gateways.binary, "console", "--socket", gateways.a.socket, "-c", "ping segment servers 10.10.0.1 count 1")
    assert "icmp" in text


def test_a_gateway_that_somebody_took_down_is_told(gateways):
    def down():
        findings = segment_test(gateways.a, "servers")["findings"]
        return [finding["text"] for finding in findings if finding["code"] == "gateway_down" and finding["site"] is None]

    assert down() == []
    try:
        gateways["a"].ip("link", "set", "dev", "cw10", "down")
        assert down() == ["the gateway's interface cw10 is set down, so that hosts have no gateway at this site"]
        (told,) = [found for found in segment_test(gateways.b, "servers")["findings"] if found["code"] == "gateway_down"]
        assert told["text"].startswith("at site ") and "cw10 is set down" in told["text"], "and at the other end"
    finally:
        gateways["a"].ip("link", "set", "dev", "cw10", "up")
    # Linux has dropped its IPv6 address with that.
    assert down() == [f"the gateway's interface cw10 lacks {GATEWAY6}/64"]
    gateways["a"].ip("address", "add", f"{GATEWAY6}/64", "dev", "cw10", "nodad")
    assert down() == []


def test_a_gateways_interface_that_somebody_removes_is_made_anew(gateways):
    before = gateways["a"].run("cat", "/sys/class/net/cw10/address").strip()
    gateways["a"].ip("link", "del", "dev", "cw10")
    wait_until(lambda: gateways["a"].run("cat", "/sys/class/net/cw10/address").strip() == before, "it is there again")
    assert seconds_until_ping(gateways["a10"], GATEWAY, timeout=10) < 10
    assert "removed by somebody else" in gateways.a.log()
