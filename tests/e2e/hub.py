"""A hub and four spokes with ten segments that meet their ports in every way there is.

Each site has a trunk, on which a bridge joins the cables of its VLAN hosts, and some have an underlay port with a kernel
VTEP. A host is called `<site>-<segment>` and has the address 10.<tunnel ID>.0.<number of the site>; a second host of a
site in one segment, behind the VTEP, is called `<site>-<segment>-vtep` and counts from 100.

Spoke s1 has to show a certificate, and s4 has no way to the hub but an HTTP proxy. Hosts in DUAL have the address fd10:<tunnel ID>::<number>
as well.

    segment    tunnel   hub                s1         s2         s3         s4
    servers    10       VLAN 10            VLAN 110   VNI 5010   untagged
    voice      11       VLAN 11            VLAN 11
    storage    12       VNI 5012                      VLAN 12               MTU 8900
    customer   13       300 with 30 in it                        40 with 31 in it
    carrier    14       service VLAN 400   service VLAN 401                 the customers' tags cross
    isolated   15       VLAN 15            VLAN 15    VLAN 15               spokes reach the hub only
    mixed      16       VLAN 16, VNI 5016                        VLAN 16
    routed     17       VLAN 17            VLAN 17                          a gateway at each site
    overlay    18       VNI 5018                      VNI 6018
    proxied    19       VLAN 19                                             VLAN 19
"""

import dataclasses
import os

from lab import PASSWORD, Appliance, Topology
from netns import sh, veth, vlan_interface
from tools import start_proxy

SITES = ("hub", "s1", "s2", "s3", "s4")
TRUNK_MTU, UNDERLAY_MTU = 9000, 9000
GATEWAY = "10.17.0.254"
PROXY = "198.51.100.1"
DUAL = ("servers", "proxied")
CARRIED = 77  # the customer's VLAN in the service VLANs of segment "carrier"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a segment meets a port: on the trunk with these tags, or in VXLAN."""

    vlan: int | None = None
    service: int | None = None
    vni: int | None = None

    def toml(self):
        if self.vni is not None:
            return f'port = "underlay"\nvni = {self.vni}\n'
        tags = [("svlan", self.service), ("vlan", self.vlan)]
        given = "".join(f"{key} = {tag}\n" for key, tag in tags if tag is not None)
        return 'port = "trunk0"\n' + (given or "untagged = true\n")


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment: the places where each site attaches it, and what else its configuration says."""

    tunnel: int
    places: dict
    mtu: int = 1500
    more: str = ""


SEGMENTS = {
    "servers": Segment(10, {"hub": [Place(vlan=10)], "s1": [Place(vlan=110)], "s2": [Place(vni=5010)], "s3": [Place()]}),
    "voice": Segment(11, {"hub": [Place(vlan=11)], "s1": [Place(vlan=11)]}),
    "storage": Segment(12, {"hub": [Place(vni=5012)], "s2": [Place(vlan=12)]}, mtu=8900),
    "customer": Segment(13, {"hub": [Place(vlan=30, service=300)], "s3": [Place(vlan=31, service=40)]}),
    "carrier": Segment(14, {"hub": [Place(service=400)], "s1": [Place(service=401)]}, mtu=1504),
    "isolated": Segment(15, {site: [Place(vlan=15)] for site in ("hub", "s1", "s2")}, more="spoke_to_spoke = false\n"),
    "mixed": Segment(16, {"hub": [Place(vlan=16), Place(vni=5016)], "s3": [Place(vlan=16)]}),
    "routed": Segment(17, {site: [Place(vlan=17)] for site in ("hub", "s1")}),
    "overlay": Segment(18, {"hub": [Place(vni=5018)], "s2": [Place(vni=6018)]}),
    "proxied": Segment(19, {"hub": [Place(vlan=19)], "s4": [Place(vlan=19)]}),
}


def gateway(site):
    """The gateway of segment "routed" at its two sites: the same address, resolved by each site for itself."""
    return f'[segment.gateway]\naddresses = ["{GATEWAY}/24"]\negress = ["{GATEWAY}"]\n' if site in ("hub", "s1") else ""


class HubLab(Topology):
    """The whole lab: `lab.hub` and `lab.spokes` are the appliances, `lab.hosts[segment]` the addresses by host, and `lab.hosts6` those of
    IPv6."""

    def __init__(self):
        super().__init__()
        self.hub = None
        self.spokes = {}
        self.hosts = {name: {} for name in SEGMENTS}
        self.hosts6 = {name: {} for name in DUAL}

    def build(self):
        wan, proxy = self.namespace("wan"), self.namespace("proxy")
        for number, site in enumerate(SITES, 1):
            inside = site == "s4"
            veth(self.namespace(site), "eth0", proxy if inside else wan, site)
            self[site].address("eth0", "198.51.100.2/24" if inside else f"192.0.2.{number}/24")
            self.build_site(site, number)
        veth(proxy, "eth0", wan, "proxy")
        proxy.address("eth0", "192.0.2.100/24")
        proxy.address("s4", f"{PROXY}/24")
        self.helpers.append(start_proxy(proxy, PROXY, self.directory))
        wan.bridge("br0", *SITES[:-1], "proxy")
        self.hub = Appliance(self, "hub", peers=len(SITES) - 1)
        self.spokes = {site: Appliance(self, site) for site in SITES[1:]}
        self.appliances = [self.hub, *self.spokes.values()]
        self.write_configs()

    def build_site(self, site, number):
        """The trunk with its bridge, the underlay with its VTEP, and the hosts."""
        lan = self.namespace(f"{site}-lan")
        veth(self[site], "lan0", lan, "trunk", TRUNK_MTU)
        self[site].no_ipv6("lan0")
        cables = ["trunk"]
        if any(place.vni for segment in SEGMENTS.values() for place in segment.places.get(site, [])):
            vtep = self.namespace(f"{site}-vtep")
            veth(self[site], "vt0", vtep, "eth0", UNDERLAY_MTU)
            self[site].address("vt0", "10.200.0.1/24")
            vtep.address("eth0", "10.200.0.2/24")
        for name, segment in SEGMENTS.items():
            for place in segment.places.get(site, []):
                if place.vni is not None:
                    self.vxlan_host(site, name, segment, place, number)
                else:
                    cables.append(self.trunk_host(site, name, segment, place, number))
        lan.bridge("br0", *cables)

    def trunk_host(self, site, name, segment, place, number):
        host, cable = self.namespace(f"{site}-{name}"), name[:12]
        veth(host, "eth0", self[f"{site}-lan"], cable, max(segment.mtu, 1500))
        interface, vlan, service = "eth0", place.vlan, place.service
        if service is not None and vlan is None:
            vlan = CARRIED  # a customer with a tag of its own
        if vlan is not None:
            interface = vlan_interface(host, "eth0", vlan, self.directory, service)
        self.address(name, f"{site}-{name}", interface, f"10.{segment.tunnel}.0.{number}")
        return cable

    def vxlan_host(self, site, name, segment, place, number):
        beside = len(segment.places[site]) > 1
        host = self.namespace(f"{site}-{name}" + ("-vtep" if beside else ""))
        vtep, device = self[f"{site}-vtep"], f"vx{place.vni}"
        vtep.ip("link", "add", device, "mtu", segment.mtu, "type", "vxlan", "id", place.vni, "dev", "eth0",
                "local", "10.200.0.2", "remote", "10.200.0.1", "dstport", 4789)
        vtep.ip("link", "set", "dev", device, "up")
        veth(host, "eth0", vtep, f"h{place.vni}", segment.mtu)
        vtep.bridge(f"br{place.vni}", device, f"h{place.vni}")
        address = f"10.{segment.tunnel}.0.{number + (100 if beside else 0)}"
        self.address(name, f"{site}-{name}" + ("-vtep" if beside else ""), "eth0", address)

    def address(self, segment, host, interface, address):
        self[host].address(interface, f"{address}/24")
        self.hosts[segment][host] = address
        if segment in DUAL:
            self.hosts6[segment][host] = f"fd10:{SEGMENTS[segment].tunnel}::{address.rpartition('.')[2]}"
            self[host].address(interface, f"{self.hosts6[segment][host]}/64")

    def write_configs(self):
        fingerprint = self.certificate()
        verifier = sh(self.binary, "passwd", input=PASSWORD + "\n").strip()
        sh(self.binary, "cert", "self-sign", "--cn", "s1", "--days", 30, "--out", self.directory / "s1")
        cores = sorted(os.sched_getaffinity(0))
        for number, appliance in enumerate(self.appliances):
            site = appliance.name
            text = self.common_config(appliance, cores[number % len(cores)])
            if site == "hub":
                text += '[server]\nlisten = "0.0.0.0:443"\ncertificate = "server.crt"\nkey = "server.key"\nclient_ca = "s1.crt"\n'
                for spoke in self.spokes:
                    joined = [name for name, segment in SEGMENTS.items() if spoke in segment.places]
                    text += f'[[server.site]]\nuser = "{spoke}"\nverifier = "{verifier}"\nsegments = {joined}\n'
                    text += "require_certificate = true\n" if spoke == "s1" else ""
            else:
                text += (f'[client]\nserver = "192.0.2.1"\nuser = "{site}"\npassword = "{PASSWORD}"\n'
                         f'fingerprint = "{fingerprint}"\n')
                text += {"s1": 'certificate = "s1.crt"\nkey = "s1.key"\n',
                         "s4": f'[client.proxy]\naddress = "{PROXY}:3128"\nuser = "branch"\npassword = "sesame"\n'}.get(site, "")
            appliance.config.write_text(text.replace("'", '"'))

    def common_config(self, appliance, core):
        """System, ports and segments."""
        site = appliance.name
        text = (f'mode = "{"server" if site == "hub" else "client"}"\n'
                f'[system]\nworkers = [{core}]\nidle = "adaptive"\nsocket = "{appliance.socket}"\nstate = "{appliance.socket}.state"\n'
                f'[[port]]\nname = "trunk0"\nrole = "trunk"\ndevice = "kernel:lan0"\nmtu = {TRUNK_MTU}\n'
                '[[port]]\nname = "wan"\nrole = "uplink"\ndevice = "kernel:eth0"\n')
        if f"{site}-vtep" in self.namespaces:
            text += (f'[[port]]\nname = "underlay"\nrole = "trunk"\ndevice = "kernel:vt0"\nmtu = {UNDERLAY_MTU}\n'
                     '[port.vtep]\nlocal = "10.200.0.1"\nremotes = ["10.200.0.2"]\n')
        for name, segment in SEGMENTS.items():
            if site in segment.places:
                text += f'[[segment]]\nname = "{name}"\ntunnel_id = {segment.tunnel}\nmtu = {segment.mtu}\n{segment.more}'
                text += gateway(site) if name == "routed" else ""
                text += "".join(f"[[segment.attachment]]\n{place.toml()}" for place in segment.places[site])
        return text
