//! The examples in `appliance-config/` are good configurations, and bad ones are told with file, line and key.
#![allow(missing_docs)]

use std::path::Path;

use config::{Config, Encap, Errors, Mode};

const GOOD: &str = r#"
mode = "server"
[[port]]
name = "trunk0"
role = "trunk"
device = "af_packet:eth1"
[[port]]
name = "wan"
role = "uplink"
device = "af_packet:eth0"
[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "trunk0"
vlan = 10
[server]
certificate = "server.crt"
key = "server.key"
[[server.site]]
user = "branch"
verifier = "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA"
"#;

fn example(name: &str) -> Result<Config, Errors> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../appliance-config");
    let path = directory.join(name);
    let text = std::fs::read_to_string(&path).expect("readable");
    // The password file of an example is the operator's to make.
    Config::parse(&path, &text.replace("password_file = \"branch.password\"", "password = \"x\""))
}

#[test]
fn every_example_is_good() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../appliance-config");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if name.ends_with(".toml") {
            seen += 1;
            if let Err(errors) = example(&name) {
                panic!("{errors}");
            }
        }
    }
    assert!(seen >= 5, "found the examples");
    let hub = example("hub.toml").expect("good");
    let Mode::Server(server) = hub.mode else { panic!("a hub is a server") };
    assert_eq!(server.sites.len(), 3);
    assert_eq!(server.sites[0].segments, [0, 1]);
    let spoke = example("client-vxlan.toml").expect("good");
    assert!(matches!(spoke.segments[0].attachments[0].encap, Encap::Vxlan(vni) if vni.get() == 5010));
    assert_eq!(spoke.segments[0].mtu, 1500);
}

/// The one fault of `GOOD` with `from` replaced by `to`.
fn fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    Config::parse(Path::new("a.toml"), &text).expect_err("bad").to_string()
}

#[test]
fn faults_name_file_line_and_key() {
    Config::parse(Path::new("a.toml"), GOOD).expect("good");
    for (from, to, expected) in [
        ("tunnel_id = 10", "tunnel_id = 0", "a.toml:13: segment[1].tunnel_id: 0 is out of range: 1 to 4093"),
        (
            "tunnel_id = 10",
            "tunnel_id = 4094",
            "a.toml:13: segment[1].tunnel_id: 4094 is out of range: 1 to 4093",
        ),
        (
            "tunnel_id = 10",
            "tunnel_id = \"x\"",
            "a.toml:13: segment[1].tunnel_id: has to be a whole number, but is string",
        ),
        ("vlan = 10", "vlna = 10", "a.toml:14: segment[1].attachment[1]: needs exactly one of"),
        (
            "vlan = 10",
            "vlna = 10",
            "a.toml:16: segment[1].attachment[1].vlna: unknown key (did you mean \"vlan\"?)",
        ),
        (
            "vlan = 10",
            "vlan = 4095",
            "a.toml:16: segment[1].attachment[1].vlan: 4095 is out of range: 1 to 4094",
        ),
        (
            "vlan = 10",
            "vlan = 0",
            "a.toml:16: segment[1].attachment[1].vlan: 0 is out of range: 1 to 4094; for frames without a tag: untagged = true",
        ),
        ("vlan = 10", "untagged = false", "segment[1].attachment[1]: needs exactly one of"),
        ("vlan = 10", "vni = 10", "segment[1].attachment[1].vni: port \"trunk0\" has no [port.vtep]"),
        (
            "port = \"trunk0\"",
            "port = \"wan\"",
            "a.toml:15: segment[1].attachment[1].port: port \"wan\" is no trunk port",
        ),
        ("port = \"trunk0\"", "port = \"t\"", "there is no (good) port \"t\"; there are: trunk0, wan"),
        ("mode = \"server\"", "mode = \"hub\"", "a.toml:2: mode: \"hub\" is neither"),
        ("role = \"uplink\"", "role = \"trunk\"", "port: there is no port with role = \"uplink\""),
        ("\"af_packet:eth1\"", "\"eth1\"", "a.toml:6: port[1].device: \"eth1\" is neither a PCI address"),
        ("key = \"server.key\"\n", "", "server.key: is missing"),
        (
            "[server]",
            "[server]\nciphers = [\"AES128-GCM-SHA256\"]",
            "a.toml:18: server.ciphers: \"AES128-GCM-SHA256\" is none of",
        ),
        ("[server]", "[client]\nuser = \"x\"\n[server]", "client: has no place in mode = \"server\""),
        (
            "verifier = \"SCRAM",
            "verifier = \"MD5",
            "a.toml:22: server.site[1].verifier: is not what `causeway passwd` prints",
        ),
        ("mode = \"server\"", "mode = \"server", "a.toml:2: not TOML:"),
        (
            "mode = \"server\"",
            "mode = \"server\"\n[system]\nworkers = []",
            "a.toml:4: system.workers: names no core: at least one worker is needed",
        ),
        (
            "mode = \"server\"",
            "mode = \"server\"\n[system]\nworkers = [1, 1]",
            "a.toml:4: system.workers: names a core twice: each worker needs one of its own",
        ),
        (
            "mode = \"server\"",
            "mode = \"server\"\n[system]\naead = \"fast\"",
            "a.toml:4: system.aead: \"fast\" is neither \"auto\" nor \"ring\" nor \"ipsec-mb\"",
        ),
    ] {
        let told = fault(from, to);
        assert!(told.contains(expected), "{from} -> {to}\n  told:     {told}\n  expected: {expected}");
    }
}

#[test]
fn several_faults_come_at_once_by_line() {
    let text = GOOD
        .replace("tunnel_id = 10", "tunnel_id = 0")
        .replace("vlan = 10", "vlan = 0")
        .replace("user = \"branch\"", "user = \"\"");
    let errors = Config::parse(Path::new("a.toml"), &text).expect_err("bad");
    let lines: Vec<usize> = errors.faults.iter().map(|fault| fault.line).collect();
    assert!(lines.is_sorted() && lines.len() >= 3, "{errors}");
}

#[test]
fn two_of_a_kind_are_told() {
    let second = "[[segment]]\nname = \"voice\"\ntunnel_id = 10\n[[segment.attachment]]\nport = \"trunk0\"\nvlan = 10\n[server]";
    let told = fault("[server]", second);
    assert!(told.contains("10 is the tunnel ID of segment \"servers\" already"), "{told}");
    assert!(told.contains("VLAN 10 on port \"trunk0\" belongs to segment \"servers\" already"), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let told = Config::load(Path::new("/nowhere/a.toml")).expect_err("not there").to_string();
    assert!(told.starts_with("/nowhere/a.toml: cannot be read:"), "{told}");
}
