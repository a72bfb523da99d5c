//! The filter of captures as a part of the tree: tcpdump's words, those that `pipeline::capture::Filter` reads. A test of the control
//! thread holds the two against each other.

use std::sync::LazyLock;

use crate::tree::{Arg, Node, value, word};

/// What a filter begins with.
pub fn expression() -> &'static Node {
    static EXPRESSION: LazyLock<Node> = LazyLock::new(|| {
        close("", "")
            .then([
                close("not", "Frames that what follows does not hold of").goes_on(expression),
                close("(", "What belongs together, up to )").goes_on(expression),
                protocol("arp", "ARP"),
                protocol("icmp", "ICMP"),
                protocol("icmp6", "ICMP of IPv6, neighbour discovery too"),
                protocol("ip", "IPv4"),
                protocol("ip6", "IPv6"),
                protocol("tcp", "TCP"),
                protocol("udp", "UDP"),
                done(close("broadcast", "To all")),
                done(close("multicast", "To a group")),
                done(close("vlan", "With a VLAN tag")).then([done(close_value(
                    "VLAN",
                    Arg::Number(0, 4095),
                    "With this one",
                ))]),
                close("greater", "So long, or longer").then([length()]),
                close("less", "So long, or shorter").then([length()]),
                close("ether", "Of Ethernet addresses and types").then(ether()),
            ])
            .then(addresses())
    });
    &EXPRESSION
}

/// What follows a test that is whole.
fn joint() -> &'static Node {
    static JOINT: LazyLock<Node> = LazyLock::new(|| close("", "").then(joints()));
    &JOINT
}

fn joints() -> [Node; 3] {
    [
        close("and", "And what follows").goes_on(expression),
        close("or", "Or what follows").goes_on(expression),
        done(close(")", "The end of what belongs together")),
    ]
}

/// What follows a protocol: `tcp port 80`.
fn of_protocol() -> &'static Node {
    static OF_PROTOCOL: LazyLock<Node> = LazyLock::new(|| close("", "").then(addresses()).then(joints()));
    &OF_PROTOCOL
}

fn close(text: &'static str, help: &'static str) -> Node {
    Node { close: true, ..word(text, help) }
}

fn close_value(name: &'static str, arg: Arg, help: &'static str) -> Node {
    Node { close: true, ..value(name, arg, help) }
}

/// A test is whole here.
fn done(node: Node) -> Node {
    node.ends().goes_on(joint)
}

fn protocol(name: &'static str, help: &'static str) -> Node {
    close(name, help).ends().goes_on(of_protocol)
}

fn length() -> Node {
    done(close_value("OCTETS", Arg::Number(0, 1 << 16), "The frame's octets"))
}

/// Tests of IP addresses and ports, of either side or of one.
fn addresses() -> Vec<Node> {
    let side = |name, help| close(name, help).then([done(host("The address"))]).then(kinds());
    let mut all = kinds();
    all.extend([side("src", "Of the source"), side("dst", "Of the destination")]);
    all
}

fn kinds() -> Vec<Node> {
    let port = |help| close_value("PORT", Arg::Number(0, 65_535), help);
    vec![
        close("host", "An IP address").then([done(host("The address"))]),
        close("net", "An IP network").then([done(close_value("NETWORK", Arg::Net, "Such as 10.0.0.0/8"))]),
        close("port", "A port of TCP or UDP").then([done(port("Its number"))]),
        close("portrange", "Ports of TCP or UDP").then([done(close_value(
            "PORTS",
            Arg::PortRange,
            "Such as 8000-8099",
        ))]),
    ]
}

fn host(help: &'static str) -> Node {
    close_value("ADDRESS", Arg::Ip, help)
}

fn ether() -> Vec<Node> {
    let mac = || done(close_value("MAC", Arg::Mac, "The address"));
    let side = |name, help| close(name, help).then([mac(), close("host", "The same").then([mac()])]);
    vec![
        close("host", "Of either side").then([mac()]),
        side("src", "Of the source"),
        side("dst", "Of the destination"),
        close("proto", "The EtherType").then([done(close_value("TYPE", Arg::EtherType, "Such as 0x0806"))]),
        done(close("broadcast", "To all")),
        done(close("multicast", "To a group")),
    ]
}
