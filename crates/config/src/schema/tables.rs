//! The table itself, in the order of the documents.

use super::Key;
use super::Kind::{Bool, Choice, Choices, Number, Numbers, OneOrMore, Table, Tables, Text, Texts};

/// A key with a default, or an empty text for one that has none.
const fn key(name: &'static str, kind: super::Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, help, default, instead_of: &[], secret: false }
}

impl Key {
    const fn instead_of(mut self, others: &'static [&'static str]) -> Self {
        self.instead_of = others;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const PORT: u64 = 65_535;
const MAX_RATE: u64 = 100_000_000;
const MAX_MACS: u64 = 4 << 20;

/// The keys of the whole file.
pub static ROOT: &[Key] = &[
    key("mode", Choice(&["server", "client"]), "", "what the appliance is: the hub, or one of its spokes"),
    key("system", Table(SYSTEM), "", "how the appliance runs"),
    key("port", Tables { by: "name", keys: PORTS }, "", "where the appliance meets networks"),
    key("loop_guard", Table(LOOP_GUARD), "", "times of the loop guard"),
    key("duplicate_mac", Table(DUPLICATE_MAC), "", "when an address moves too often"),
    key("metrics", Table(METRICS), "", "metrics for Prometheus and a read-only page, over HTTP"),
    key("console", Table(CONSOLE), "", "who may use the console over TCP, and where"),
    key("segment", Tables { by: "name", keys: SEGMENT }, "", "what is stretched"),
    key("server", Table(SERVER), "", "the hub (mode = \"server\")"),
    key("client", Table(CLIENT), "", "a spoke (mode = \"client\")"),
];

static LOOP_GUARD: &[Key] = &[
    key(
        "listen_ms",
        Number { min: 0, max: 5000 },
        "300",
        "how long an attachment listens before it forwards; 0: not at all",
    ),
    key("interval_ms", Number { min: 50, max: 1000 }, "250", "between two probes of an attachment"),
    key(
        "hold_s",
        Number { min: 1, max: 300 },
        "3",
        "how long an attachment stays blocked after the last sign, at first",
    ),
];

static DUPLICATE_MAC: &[Key] = &[
    key("moves", Number { min: 0, max: 1000 }, "5", "so many moves of an address are too many; 0: never"),
    key("window_s", Number { min: 1, max: 3600 }, "180", "within so many seconds"),
    key("hold_s", Number { min: 1, max: 86_400 }, "180", "how long it then stays where it is"),
];

static METRICS: &[Key] = &[
    key("listen", Text("address:port"), "127.0.0.1:9469", "where it waits for HTTP"),
    key("expose", Bool, "false", "whether others than this machine may reach it"),
];

static CONSOLE: &[Key] = &[
    key(
        "listen",
        Text("address:port"),
        "",
        "where it waits for consoles; another address than loopback needs tls",
    ),
    key("tls", Bool, "false", "whether connections are encrypted"),
    key("certificate", Text("file"), "", "the certificate, with tls"),
    key("key", Text("file"), "", "its private key, with tls"),
    key("idle_s", Number { min: 10, max: 86_400 }, "600", "a console that is idle for so long is closed"),
    key("max_sessions", Number { min: 1, max: 256 }, "32", "most consoles over TCP at one time"),
    key("user", Tables { by: "name", keys: CONSOLE_USER }, "", "who may log in"),
];

static CONSOLE_USER: &[Key] = &[
    key("name", Text("name"), "", "the user's name"),
    key("role", Choice(&["operator", "admin"]), "", "operator: looks; admin: changes"),
    key("password_hash", Text("Argon2id hash"), "", "as `causeway passwd --console` prints it").secret(),
];

static SHARE: &[Key] = &[
    key("to", Text("address:port"), "", "the service that gets the connections"),
    key("sni", Text("name"), "", "those for this server name (SNI)"),
    key("alpn", Text("protocol"), "", "those for this protocol (ALPN)"),
    key("default", Bool, "false", "all that fit nothing else"),
    key(
        "proxy_protocol",
        Choice(&["v1", "v2"]),
        "",
        "a PROXY protocol header tells the service who connects",
    ),
    key("max_connections", Number { min: 1, max: 16_384 }, "512", "most connections at one time"),
    key(
        "idle_s",
        Number { min: 1, max: 86_400 },
        "300",
        "a connection without a word ends after so many seconds",
    ),
];

static PROXY: &[Key] = &[
    key("address", Text("host:port"), "", "where it is"),
    key("user", Text("name"), "", "who we are to it"),
    key("password", Text("password"), "", "our password there").instead_of(&["password_file"]).secret(),
    key("password_file", Text("path"), "", "a file with the password in its first line")
        .instead_of(&["password"]),
];

static SYSTEM: &[Key] = &[
    key("workers", Numbers { min: 0, max: 1023 }, "[0]", "the core of each worker, which moves packets"),
    key("idle", Choice(&["adaptive", "spin"]), "adaptive", "what a worker does when there is nothing to do"),
    key(
        "idle_sleep_us",
        Number { min: 3, max: 10_000 },
        "150",
        "longest pause of an adaptive worker, in microseconds",
    ),
    key("hugepages", Bool, "false", "whether packet memory comes from hugepages; PCI devices need them"),
    key("memory_mb", Number { min: 64, max: 1 << 20 }, "256", "memory for packets, in MiB"),
    key("socket", Text("path"), crate::SOCKET, "where `causeway show` finds the appliance"),
    key(
        "state",
        Text("path"),
        "/var/lib/causeway",
        "where the appliance keeps what it makes by itself: certificate, history",
    ),
    key(
        "log",
        Choice(&["auto", "journal", "text", "json"]),
        "auto",
        "where the log goes and how it looks; auto: the journal under systemd, else text",
    ),
    key(
        "aead",
        Choice(&["auto", "ring", "ipsec-mb"]),
        "auto",
        "who computes AES-GCM; auto measures at start",
    ),
    key(
        "mac_age_s",
        Number { min: 10, max: 1_000_000 },
        "300",
        "how long a MAC address is remembered, in seconds",
    ),
    key(
        "path_mtu_raise_s",
        Number { min: 1, max: 86_400 },
        "600",
        "how often a path is asked whether it takes larger records by now, in seconds",
    ),
    key("dscp", Number { min: 0, max: 63 }, "0", "the DSCP of records"),
    key("copy_dscp", Bool, "false", "whether records have the DSCP of the packets in them instead"),
    key(
        "ecn",
        Bool,
        "false",
        "whether records tell of congestion to packets that understand it (RFC 6040); to be set at both ends",
    ),
    key("max_macs", Number { min: 16, max: MAX_MACS }, "65536", "most MAC addresses"),
    key(
        "hardening",
        Choice(&["on", "off"]),
        "on",
        "whether the appliance gives up, once it runs, what it does not need any more",
    ),
    key("user", Text("name"), "", "the user that it runs as from then on"),
];

static PORTS: &[Key] = &[
    key("name", Text("name"), "", "its name"),
    key("role", Choice(&["trunk", "uplink"]), "", "towards the local network, or towards the WAN"),
    key(
        "device",
        Text("device"),
        "",
        "a PCI address, kernel:INTERFACE, af_packet:INTERFACE, or a DPDK device (net_...)",
    ),
    key(
        "interface",
        Text("interface"),
        "",
        "the Linux interface with the port's addresses, beside a PCI or DPDK device",
    ),
    key("mtu", Number { min: 1280, max: 9600 }, "1500", "octets of a frame after its Ethernet header"),
    key("max_macs", Number { min: 1, max: MAX_MACS }, "", "most MAC addresses that are learned on it"),
    key("sub_interfaces", Text("VLAN(tunnel ID), ..."), "", "many VLANs in NSX's notation: 100(45),200(46)"),
    key("vtep", Table(VTEP), "", "the VXLAN tunnel end point on it"),
];

static VTEP: &[Key] = &[
    key("local", Text("IP address"), "", "our address, configured on the interface"),
    key("remotes", Texts("IP addresses"), "[]", "other VTEPs, which flooded frames go to"),
    key("group", Text("IP multicast address"), "", "the group that flooded frames go to instead"),
    key("learn", Bool, "true", "whether VTEPs that send to us are learned"),
    key("udp_port", Number { min: 1, max: PORT }, "4789", "the UDP port at both ends"),
];

static SEGMENT: &[Key] = &[
    key("name", Text("name"), "", "its name at this site"),
    key("tunnel_id", Number { min: 1, max: 4093 }, "", "its number in the tunnel, the same at every site"),
    key("enabled", Bool, "true", "whether it is in service"),
    key("mtu", Number { min: 68, max: 9500 }, "1500", "octets of a frame after its Ethernet header"),
    key("attachment", Tables { by: "port", keys: ATTACHMENT }, "", "where it meets a port"),
    key("gateway", Table(GATEWAY), "", "the addresses by which the appliance is its default gateway"),
    key("spoke_to_spoke", Bool, "true", "whether the server forwards between two of its sites"),
    key("mss_clamp", Bool, "true", "whether TCP handshakes are made to fit the tunnel"),
    key(
        "unknown_unicast",
        Choice(&["flood", "drop"]),
        "flood",
        "what happens to frames to an unknown address",
    ),
    key("max_macs", Number { min: 1, max: MAX_MACS }, "", "most MAC addresses that are learned in it"),
    key("loop_guard", Choice(&["block", "watch", "off"]), "block", "what is done about a loop through it"),
    key("arp_suppression", Bool, "false", "whether ARP and ND are answered for hosts that are known"),
    key(
        "storm_control",
        Table(STORM),
        "",
        "frames a second that each attachment and each site may send; 0: as many as it likes",
    ),
];

static ATTACHMENT: &[Key] = &[
    key("port", Text("name of a trunk port"), "", "the port"),
    key("vlan", Number { min: 1, max: 4094 }, "", "with an 802.1Q tag; behind svlan: the customer's tag")
        .instead_of(&["vni", "untagged"]),
    key("svlan", Number { min: 1, max: 4094 }, "", "with an 802.1ad service tag")
        .instead_of(&["vni", "untagged"]),
    key("vni", Number { min: 0, max: 16_777_215 }, "", "in VXLAN").instead_of(&["vlan", "svlan", "untagged"]),
    key("untagged", Bool, "", "without a tag").instead_of(&["vlan", "svlan", "vni"]),
];

static GATEWAY: &[Key] = &[
    key("addresses", Texts("addresses with prefix length"), "", "its addresses: 10.0.0.1/24"),
    key("mac", Text("MAC address"), "derived from the port", "its MAC address"),
    key("interface", Text("interface"), "cw and the tunnel ID", "the name of the host interface"),
    key("send_redirects", Bool, "false", "whether the kernel sends ICMP redirects"),
    key("egress", Texts("IP addresses"), "[]", "addresses that every site resolves and routes by itself"),
    key("routes", Tables { by: "to", keys: ROUTE }, "", "networks behind other routers of the segment"),
];

static ROUTE: &[Key] = &[
    key("to", Text("network"), "", "the network: 10.99.0.0/16"),
    key("via", Text("IP address"), "", "the router"),
];

static STORM: &[Key] = &[
    key("broadcast", Number { min: 0, max: MAX_RATE }, "0", "to the broadcast address"),
    key("multicast", Number { min: 0, max: MAX_RATE }, "0", "to group addresses"),
    key("unknown_unicast", Number { min: 0, max: MAX_RATE }, "0", "to addresses that are not known"),
];

static SITE_STORM: &[Key] = &[
    key("broadcast", Number { min: 0, max: MAX_RATE }, "the segment's", "to the broadcast address"),
    key("multicast", Number { min: 0, max: MAX_RATE }, "the segment's", "to group addresses"),
    key(
        "unknown_unicast",
        Number { min: 0, max: MAX_RATE },
        "the segment's",
        "to addresses that are not known",
    ),
];

const CIPHERS: &[&str] = &["aes-128-gcm", "aes-256-gcm"];

static SERVER: &[Key] = &[
    key("enabled", Bool, "true", "whether the service runs; false: no site may connect"),
    key("listen", Text("address:port"), "[::]:443", "where it waits for sites (TCP)"),
    key("data_port", Number { min: 1, max: PORT }, "443", "UDP port of the encrypted frames"),
    key(
        "certificate",
        Text("path"),
        "one that it makes",
        "its certificate in PEM, with those of the CAs between",
    ),
    key("key", Text("path"), "one that it makes", "the certificate's private key in PEM"),
    key("client_ca", Text("path"), "", "CA certificates in PEM that vouch for certificates of sites"),
    key("client_crl", Text("path"), "", "revocation lists of client_ca in PEM"),
    key(
        "ciphers",
        Choices(CIPHERS),
        "[aes-128-gcm, aes-256-gcm]",
        "the data ciphers that it takes, best first",
    ),
    key(
        "dead_peer_ms",
        Number { min: 300, max: 60_000 },
        "3000",
        "a session is down when nothing was heard for so long",
    ),
    key(
        "max_half_open",
        Number { min: 1, max: 10_000 },
        "64",
        "connections that may be unauthenticated at one time",
    ),
    key(
        "transport",
        Choice(&["auto", "udp"]),
        "auto",
        "whether sites may send over TCP where UDP does not get through",
    ),
    key("share", Tables { by: "to", keys: SHARE }, "", "other services that share the TCP port"),
    key("site", Tables { by: "user", keys: SITE }, "", "the sites that may connect"),
];

static SITE: &[Key] = &[
    key("user", Text("name"), "", "its name, with which it logs in"),
    key("description", Text("text"), "", "for people"),
    key("verifier", Text("verifier"), "", "what `causeway passwd` printed for its password").secret(),
    key("enabled", Bool, "true", "whether it may connect"),
    key("segments", Texts("names of segments"), "all", "the segments that it may join"),
    key("max_macs", Number { min: 1, max: MAX_MACS }, "", "most MAC addresses that are learned behind it"),
    key(
        "storm_control",
        Table(SITE_STORM),
        "",
        "frames a second that this site may send into each segment, instead of the segment's; 0: as many as it likes",
    ),
    key(
        "egress",
        Texts("IP addresses"),
        "[]",
        "gateway addresses that this site resolves and routes by itself",
    ),
    key("require_certificate", Bool, "false", "whether it has to show a certificate beside its password"),
    key("certificate_name", Text("name"), "user", "the name that the certificate has to carry"),
];

static CLIENT: &[Key] = &[
    key("enabled", Bool, "true", "whether the service runs; false: it does not connect"),
    key("server", Text("host or host:port"), "", "where the server is").instead_of(&["servers"]),
    key(
        "servers",
        Texts("host or host:port"),
        "",
        "where the servers are, in the order in which they are tried",
    )
    .instead_of(&["server"]),
    key("port", Number { min: 1, max: PORT }, "443", "the TCP port of servers that name none"),
    key(
        "connect_timeout_ms",
        Number { min: 100, max: 30_000 },
        "3000",
        "how long one address has until TLS is up",
    ),
    key(
        "transport",
        Choice(&["auto", "udp", "tcp"]),
        "auto",
        "how frames travel; auto: over UDP, and over TCP while that does not get through",
    ),
    key("proxy", Table(PROXY), "", "an HTTP proxy (CONNECT) on the way to the servers"),
    key("user", Text("name"), "", "the site's name at the server"),
    key("password", Text("password"), "", "the site's password").instead_of(&["password_file"]).secret(),
    key("password_file", Text("path"), "", "a file with the password in its first line")
        .instead_of(&["password"]),
    key(
        "fingerprint",
        OneOrMore("SHA-256"),
        "",
        "the fingerprint of the server's certificate, or those it may have",
    )
    .instead_of(&["ca", "crl"]),
    key("ca", Text("path"), "", "CA certificates in PEM that vouch for the server")
        .instead_of(&["fingerprint"]),
    key("crl", Text("path"), "", "revocation lists of ca in PEM"),
    key(
        "server_name",
        Text("name or address"),
        "server",
        "the name that the server's certificate has to be for",
    ),
    key("certificate", Text("path"), "", "a certificate to show beside the password, in PEM"),
    key("key", Text("path"), "", "the certificate's private key in PEM"),
    key(
        "ciphers",
        Choices(CIPHERS),
        "[aes-128-gcm, aes-256-gcm]",
        "the data ciphers that it offers, best first",
    ),
    key("data_port", Number { min: 0, max: PORT }, "0", "local UDP port of the encrypted frames; 0: any"),
    key("rekey_minutes", Number { min: 1, max: 14 }, "10", "how long the keys of one TLS handshake are used"),
];
