//! Servers, proxy and shared port: what is read, and what is told of what contradicts itself.
#![allow(missing_docs)]

use std::path::Path;
use std::time::Duration;

use config::{Client, Config, Errors, Mode, ProxyProtocol, Server, Transport};

const PORTS: &str = r#"
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:eth1"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
"#;

fn parse(mode: &str, text: &str) -> Result<Config, Errors> {
    Config::parse(Path::new("a.toml"), &format!("mode = {mode:?}\n{PORTS}[{mode}]\n{text}"))
}

/// A client with this in its table.
fn client(text: &str) -> Result<Client, String> {
    let fingerprint = "00".repeat(32);
    let rest = format!("user = \"branch\"\nfingerprint = \"{fingerprint}\"\n");
    let rest = if text.contains("[client.proxy]") {
        rest + "password = \"x\"\n" + text
    } else {
        rest + text + "password = \"x\""
    };
    match parse("client", &rest).map_err(|errors| errors.to_string())?.mode {
        Mode::Client(client) => Ok(client),
        Mode::Server(_) => panic!("a client"),
    }
}

fn server(text: &str) -> Result<Server, String> {
    let rest = format!("certificate = \"a.crt\"\nkey = \"a.key\"\nlisten = \"[::]:443\"\n{text}");
    match parse("server", &rest).map_err(|errors| errors.to_string())?.mode {
        Mode::Server(server) => Ok(server),
        Mode::Client(_) => panic!("a server"),
    }
}

fn addresses(text: &str) -> Vec<String> {
    let client = client(text).expect("good");
    client.servers.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn servers_have_names_addresses_and_ports() {
    assert_eq!(addresses("server = \"a.example\"\n"), ["a.example:443"]);
    assert_eq!(addresses("server = \"2001:db8::1\"\nport = 8443\n"), ["[2001:db8::1]:8443"]);
    assert_eq!(
        addresses("servers = [\"a.example\", \"192.0.2.7:8443\", \"[2001:db8::1]:444\"]\nport = 1443\n"),
        ["a.example:1443", "192.0.2.7:8443", "[2001:db8::1]:444"]
    );
    for (text, told) in [
        ("", "client.server: is missing"),
        ("server = \"a\"\nservers = [\"b\"]\n", "needs one of both"),
        ("servers = []\n", "1 to 8 servers"),
        ("servers = [\"a\", \"a:443\"]\n", "a.toml:14: client.servers: names a:443 twice"),
        ("server = \"a:0\"\n", "port is not a number from 1"),
        ("server = \"https://a\"\n", "client.server"),
        ("server = \"a b\"\n", "neither a host name nor an address"),
        ("server = \"a\"\nconnect_timeout_ms = 1\n", "out of range: 100 to 30000"),
    ] {
        let errors = client(text).expect_err(text);
        assert!(errors.contains(told), "{text}: {errors}");
    }
}

#[test]
fn a_proxy_has_a_port_and_both_or_none_of_user_and_password() {
    let with = |text: &str| client(&format!("server = \"a\"\n[client.proxy]\n{text}"));
    let proxy = with("address = \"proxy.example:3128\"\n").expect("good").servers.proxy.expect("one");
    assert_eq!((proxy.address.to_string(), proxy.credentials), ("proxy.example:3128".into(), None));
    let proxy = with("address = \"[fd00::1]:80\"\nuser = \"u\"\npassword = \"p\"\n").expect("good");
    let (user, password) = proxy.servers.proxy.expect("one").credentials.expect("both");
    assert_eq!((user.as_str(), password.0.as_str()), ("u", "p"));
    for (text, told) in [
        ("address = \"proxy.example\"\n", "has no port: write for example \"proxy.example:3128\""),
        ("address = \"http://proxy.example:3128\"\n", "without http://"),
        ("user = \"u\"\npassword = \"p\"\n", "client.proxy.address: is missing"),
        ("address = \"p:1\"\nuser = \"u\"\n", "client.proxy.password"),
        ("address = \"p:1\"\npassword = \"p\"\n", "client.proxy.user: is missing"),
        ("address = \"p:1\"\nuser = \"a:b\"\npassword = \"p\"\n", "without colons"),
        ("address = \"p:1\"\nport = 1\n", "unknown key"),
    ] {
        let errors = with(text).expect_err(text);
        assert!(errors.contains(told), "{text}: {errors}");
    }
}

#[test]
fn shares_of_the_port_are_read_in_order() {
    let shares = server(
        "[[server.share]]\nsni = \"WWW.example.com\"\nto = \"127.0.0.1:8443\"\nproxy_protocol = \"v2\"\n\
         [[server.share]]\nalpn = \"acme-tls/1\"\nto = \"[::1]:9443\"\nidle_s = 10\nmax_connections = 4\n\
         [[server.share]]\ndefault = true\nto = \"127.0.0.1:8444\"\n",
    )
    .expect("good")
    .shares;
    assert_eq!(shares[0].sni.as_deref(), Some("www.example.com"));
    assert_eq!(shares[0].proxy_protocol, Some(ProxyProtocol::V2));
    assert_eq!((shares[1].alpn.as_deref(), shares[1].max_connections), (Some("acme-tls/1"), 4));
    assert_eq!(shares[1].idle, Duration::from_secs(10));
    assert!(shares[2].sni.is_none() && shares[2].alpn.is_none());
    for (text, told) in [
        ("to = \"127.0.0.1:1\"", "server.share[1].default: is missing"),
        ("sni = \"a\"\ndefault = true\nto = \"127.0.0.1:1\"", "contradicts sni"),
        ("sni = \"a b\"\nto = \"127.0.0.1:1\"", "is no host name"),
        ("alpn = \"causeway/1\"\nto = \"127.0.0.1:1\"", "Causeway's own"),
        ("alpn = \"h2\"\nto = \"127.0.0.1:443\"", "server's own port"),
        ("alpn = \"h2\"\n", "server.share[1].to: is missing"),
        ("alpn = \"h2\"\nto = \"localhost:1\"", "server.share[1].to"),
        ("alpn = \"h2\"\nto = \"127.0.0.1:1\"\nproxy_protocol = \"v3\"", "neither \"v1\" nor \"v2\""),
        (
            "alpn = \"h2\"\nto = \"127.0.0.1:1\"\n[[server.share]]\nalpn = \"h2\"\nto = \"127.0.0.1:2\"",
            "same connections",
        ),
        (
            "default = true\nto = \"127.0.0.1:1\"\n[[server.share]]\nalpn = \"h2\"\nto = \"127.0.0.1:2\"",
            "has to be the last",
        ),
    ] {
        let errors = server(&format!("[[server.share]]\n{text}\n")).expect_err(text);
        assert!(errors.contains(told), "{text}: {errors}");
    }
}

#[test]
fn records_go_by_udp_tcp_or_whichever_gets_through() {
    let of = |text: &str| client(&format!("server = \"a\"\n{text}")).map(|client| client.transport);
    assert_eq!(of(""), Ok(Transport::Auto));
    assert_eq!(of("transport = \"udp\"\n"), Ok(Transport::Udp));
    assert_eq!(of("transport = \"tcp\"\n"), Ok(Transport::Tcp));
    let told = of("transport = \"dtls\"\n").expect_err("unknown");
    assert!(told.contains("client.transport: \"dtls\" is none of \"auto\", \"udp\", \"tcp\""), "{told}");
    assert_eq!(server("transport = \"udp\"").expect("good").transport, Transport::Udp);
    let told = server("transport = \"tcp\"").expect_err("for clients");
    assert!(told.contains("is none of \"auto\", \"udp\""), "{told}");
}
