//! Segments, attachments and gateways: what is read, and what is told of what contradicts itself.
#![allow(missing_docs)]

use std::path::Path;

use config::{Config, Encap, Errors, LoopGuardMode, Mode, StormLimits};

/// A server whose segment `servers` has `segment` in it, whose site has `site`, and with `more` behind.
fn parse(segment: &str, site: &str, more: &str) -> Result<Config, Errors> {
    let text = format!(
        r#"mode = "server"
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:eth1"
[port.vtep]
local = "10.0.0.1"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
[server]
certificate = "server.crt"
key = "server.key"
[[server.site]]
user = "branch"
verifier = "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA"
{site}
[[segment]]
name = "servers"
tunnel_id = 10
{segment}
[[segment.attachment]]
port = "trunk0"
vlan = 10
{more}
"#
    );
    Config::parse(Path::new("a.toml"), &text)
}

fn told(segment: &str, site: &str, more: &str) -> String {
    parse(segment, site, more).expect_err("bad").to_string()
}

const GATEWAY: &str = "gateway = { addresses = [\"10.1.0.1/24\", \"fd00::1/64\"], egress = [\"10.1.0.1\"] }";

#[test]
fn a_port_has_a_nic_and_an_interface_that_there_can_be() {
    let port = |name: &str, device: &str| {
        format!("[[port]]\nname = \"{name}\"\nrole = \"trunk\"\ndevice = \"{device}\"\n")
    };
    let twice = port("a", "0000:0A:00.0") + &port("b", "0000:0a:00.0");
    let all = told("", "", &twice);
    assert!(all.contains("port[4].device: 0000:0a:00.0 is the NIC of port \"a\" already"), "{all}");
    for device in ["kernel:enp0s20f0u1u2i5x", "af_packet:enp0s20f0u1u2i5x", "kernel:a b", "kernel:../eth0"] {
        let all = told("", "", &port("a", device));
        assert!(all.contains("port[3].device") && all.contains("cannot name a Linux interface"), "{all}");
    }
    let all = told("", "", &(port("a", "0000:0a:00.0") + "interface = \"enp0s20f0u1u2i5x\"\n"));
    assert!(all.contains("port[3].interface") && all.contains("cannot name a Linux interface"), "{all}");
    parse(
        "",
        "",
        &(port("a", "0000:0a:00.0") + &port("b", "0000:0a:00.1") + &port("c", "kernel:abcdefghijklmno")),
    )
    .expect("good");
}

#[test]
fn gateways_ends_of_cables_have_names_of_their_own() {
    let gateway = |name: &str, at: u8| {
        format!("gateway = {{ addresses = [\"10.{at}.0.1/24\"], interface = \"{name}\" }}\n")
    };
    let other = |name: &str| format!("[[segment]]\nname = \"b\"\ntunnel_id = 11\n{}", gateway(name, 2));
    let all = told(&gateway("gw-production-1", 1), "", &other("gw-production-2"));
    assert!(
        all.contains("segment[2].gateway.interface: \"gw-production-2\" begins with the same 14"),
        "{all}"
    );
    assert!(
        told(&gateway("gw-production-", 1), "", &other("gw-production-2")).contains("begins with the same")
    );
    parse(&gateway("gw-productio-1", 1), "", &other("gw-productio-2")).expect("good");
}

#[test]
fn what_a_segment_can_have_is_read() {
    let config = parse(
        &format!("{GATEWAY}\nmss_clamp = false\nunknown_unicast = \"drop\"\nmax_macs = 7\nstorm_control = {{ broadcast = 5, multicast = 6 }}"),
        "egress = [\"fd00::1\"]\nmax_macs = 9\nstorm_control = { multicast = 0, unknown_unicast = 3 }",
        "[[segment]]\nname = \"q\"\ntunnel_id = 11\n[[segment.attachment]]\nport = \"trunk0\"\nsvlan = 100\nvlan = 20\n\
         [[segment.attachment]]\nport = \"trunk0\"\nsvlan = 101",
    )
    .expect("good");
    let servers = &config.segments[0];
    assert!(!servers.mss_clamp && servers.block_unknown);
    assert_eq!((servers.loop_guard, servers.arp_suppression), (LoopGuardMode::Block, false));
    assert_eq!((config.loop_guard.listen.as_millis(), config.duplicate_mac.moves), (300, 5));
    let limits = |storm: StormLimits| (storm.broadcast, storm.multicast, storm.unknown_unicast);
    assert_eq!((servers.max_macs, limits(servers.storm)), (Some(7), (5, 6, 0)));
    let gateway = servers.gateway.as_ref().expect("there is one");
    assert_eq!(
        (gateway.interface.as_str(), gateway.addresses.len(), gateway.send_redirects),
        ("cw10", 2, false)
    );
    let Mode::Server(server) = &config.mode else { panic!("a server") };
    assert_eq!(server.sites[0].max_macs, Some(9));
    assert_eq!(
        limits(server.sites[0].storm.within(servers.storm)),
        (5, 0, 3),
        "its own, and the segment's else"
    );
    assert_eq!(server.sites[0].egress, [(0, "fd00::1".parse().expect("an address"))]);
    let encaps: Vec<String> = config.segments[1].attachments.iter().map(|at| at.encap.to_string()).collect();
    assert_eq!(encaps, ["S-VLAN 100 VLAN 20", "S-VLAN 101"]);
}

#[test]
fn the_standalone_notation_makes_segments_and_joins_those_that_are_there() {
    let text = "mode = \"client\"\n[[port]]\nname = \"t\"\nrole = \"trunk\"\ndevice = \"kernel:eth1\"\nsub_interfaces = \"100(45), 200(46),0(47)\"\n\
        [[port]]\nname = \"wan\"\nrole = \"uplink\"\ndevice = \"kernel:eth0\"\n\
        [[segment]]\nname = \"voice\"\ntunnel_id = 46\n\
        [client]\nserver = \"a\"\nuser = \"b\"\npassword = \"c\"\nfingerprint = \"FF\"\n"
        .replace("FF", &"00".repeat(32));
    let config = Config::parse(Path::new("a.toml"), &text).expect("good");
    let shown: Vec<String> = config
        .segments
        .iter()
        .map(|segment| format!("{} {} {}", segment.name, segment.tunnel_id, segment.attachments[0].encap))
        .collect();
    assert_eq!(shown, ["voice 46 VLAN 200", "vlan-100 45 VLAN 100", "untagged 47 untagged"]);
    assert!(matches!(config.segments[1].attachments[0].encap, Encap::Vlan(_)));
    let told = |list: &str| {
        let text = text.replace("100(45), 200(46),0(47)", list);
        Config::parse(Path::new("a.toml"), &text).expect_err("bad").to_string()
    };
    assert!(
        told("100(45),200").contains("a.toml:6: port[1].sub_interfaces: \"200\": has to be VLAN(tunnel ID)")
    );
    assert!(
        told("100(45),100(48)")
            .contains("VLAN 100 on port \"t\" belongs to the sub-interface with tunnel ID 45 already")
    );
}

#[test]
fn gateways_take_ports_of_which_there_are_255() {
    let more = |count: u32| -> String {
        let one = |n: u32| {
            let tunnel = 100 + n;
            format!(
                "[[segment]]\nname = \"s{n}\"\ntunnel_id = {tunnel}\ngateway = {{ addresses = [\"10.2.{n}.1/24\"] }}\n"
            )
        };
        (1..=count).map(one).collect()
    };
    assert!(parse("", "", &more(253)).is_ok(), "and two ports");
    let told = told("", "", &more(255));
    let expected = "segment[255].gateway: there is no port for it: ports and gateways can be 255 together";
    assert!(told.contains(expected) && told.matches("no port for it").count() == 1, "{told}");
}

#[test]
fn contradictions_are_told_with_line_and_key() {
    for (segment, site, more, expected) in [
        ("gateway = { addresses = [] }", "", "", "a.toml:22: segment[1].gateway.addresses: is empty"),
        ("gateway = { }", "", "", "segment[1].gateway.addresses: is missing"),
        (
            "gateway = { addresses = [\"10.1.0.1\"] }",
            "",
            "",
            "a.toml:22: segment[1].gateway.addresses: \"10.1.0.1\":",
        ),
        (
            "gateway = { addresses = [\"10.1.0.0/24\"] }",
            "",
            "",
            "10.1.0.0 is the address of the network itself",
        ),
        ("gateway = { addresses = [\"10.1.0.255/24\"] }", "", "", "10.1.0.255 is the broadcast address"),
        (
            "gateway = { addresses = [\"10.1.0.1/24\", \"10.1.0.1/16\"] }",
            "",
            "",
            "10.1.0.1 stands here twice",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], egress = [\"10.1.0.9\"] }",
            "",
            "",
            "segment[1].gateway.egress: 10.1.0.9 is no address of this site's gateway (the gateway has 10.1.0.1 in that network)",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], egress = [\"10.2.0.9\"] }",
            "",
            "",
            "10.2.0.9 is no address of this site's gateway (it lies outside of the gateway's networks)",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], routes = [{ to = \"10.9.0.0/16\", via = \"10.2.0.1\" }] }",
            "",
            "",
            "a.toml:22: segment[1].gateway.routes: 10.2.0.1 is in none of the gateway's networks (10.1.0.1/24)",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], routes = [{ to = \"10.9.0.1/16\", via = \"10.1.0.2\" }] }",
            "",
            "",
            "10.9.0.1/16 has host bits set: 10.9.0.0/16",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], mac = \"03:00:00:00:00:01\" }",
            "",
            "",
            "no address of a single station",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], interface = \"a b\" }",
            "",
            "",
            "cannot name a Linux interface",
        ),
        (
            "gateway = { addresses = [\"10.1.0.1/24\"], interface = \"eth0\" }",
            "",
            "",
            "is the interface of port \"wan\" already",
        ),
        (
            GATEWAY,
            "",
            "[[segment]]\nname = \"b\"\ntunnel_id = 11\ngateway = { addresses = [\"10.1.0.1/24\"] }",
            "segment[2].gateway.addresses: 10.1.0.1 is the gateway of segment \"servers\" already",
        ),
        (
            GATEWAY,
            "egress = [\"10.1.0.7\"]",
            "",
            "a.toml:18: server.site[1].egress: 10.1.0.7 is a gateway address of none of the site's segments",
        ),
        (
            "unknown_unicast = \"no\"",
            "",
            "",
            "segment[1].unknown_unicast: \"no\" is neither \"flood\" nor \"drop\"",
        ),
        ("max_macs = 0", "", "", "segment[1].max_macs: 0 is out of range"),
        (
            "loop_guard = \"on\"",
            "",
            "",
            "a.toml:22: segment[1].loop_guard: \"on\" is none of \"block\", \"watch\" and \"off\"",
        ),
        (
            "",
            "",
            "[loop_guard]\ninterval_ms = 20",
            "a.toml:27: loop_guard.interval_ms: 20 is out of range: 50 to 1000",
        ),
        ("", "", "[loop_guard]\nlisten = 20", "loop_guard.listen: unknown key"),
        ("", "", "[duplicate_mac]\nhold_s = 0", "duplicate_mac.hold_s: 0 is out of range: 1 to 86400"),
        (
            "storm_control = { brodcast = 1 }",
            "",
            "",
            "segment[1].storm_control.brodcast: unknown key (did you mean \"broadcast\"?)",
        ),
        (
            "",
            "storm_control = { broadcast = 100000001 }",
            "",
            "server.site[1].storm_control.broadcast: 100000001 is out of range: 0 to 100000000",
        ),
        (
            "",
            "",
            "[[segment.attachment]]\nport = \"trunk0\"\nvni = 7\n[[segment]]\nname = \"b\"\ntunnel_id = 11\n\
             [[segment.attachment]]\nport = \"trunk0\"\nvni = 7",
            "VNI 7 on port \"trunk0\" belongs to segment \"servers\" already",
        ),
        (
            "",
            "",
            "[[segment.attachment]]\nport = \"trunk0\"\nsvlan = 7\nvni = 7",
            "needs exactly one of vlan = ID, svlan = ID",
        ),
    ] {
        let told = told(segment, site, more);
        assert!(told.contains(expected), "\n  told:     {told}\n  expected: {expected}");
    }
}
