//! `[metrics]`: nothing without it, loopback unless it says so.
#![allow(missing_docs)]

use std::path::Path;

use config::{Config, Errors};

fn parse(metrics: &str) -> Result<Config, Errors> {
    let text = format!(
        r#"mode = "client"
{metrics}
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:eth1"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
[client]
server = "vpn.example.com"
user = "branch"
password = "x"
fingerprint = "{}"
"#,
        "00".repeat(32)
    );
    Config::parse(Path::new("a.toml"), &text)
}

fn listen(metrics: &str) -> Option<String> {
    parse(metrics).expect("good").metrics.map(|metrics| metrics.listen.to_string())
}

#[test]
fn the_table_switches_it_on() {
    assert_eq!(listen(""), None);
    assert_eq!(listen("[metrics]").as_deref(), Some("127.0.0.1:9469"));
    assert_eq!(listen("[metrics]\nlisten = \"[::1]:1234\"").as_deref(), Some("[::1]:1234"));
}

#[test]
fn another_address_needs_a_word() {
    let told = parse("[metrics]\nlisten = \"0.0.0.0:9469\"").expect_err("bad").to_string();
    assert!(told.contains("a.toml:3: metrics.listen:") && told.contains("expose = true"), "{told}");
    assert_eq!(
        listen("[metrics]\nlisten = \"0.0.0.0:9469\"\nexpose = true").as_deref(),
        Some("0.0.0.0:9469")
    );
    assert!(
        parse("[metrics]\nlissen = \"127.0.0.1:1\"").expect_err("bad").to_string().contains("did you mean")
    );
}
