//! Where a client finds its servers, and the proxy in front of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::mode::{Password, password};
use crate::reader::Table;

/// Most servers of a client.
pub const MAX_SERVERS: usize = 8;

/// TCP port of a server without one.
const PORT: u16 = 443;

/// A host, by name or address, and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The name, or the address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A proxy that makes connections for us (HTTP CONNECT, RFC 9110 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub address: HostPort,
    /// Who we are to it (Basic, RFC 7617).
    pub credentials: Option<(String, Password)>,
}

/// How a client gets at its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// The servers, in the order in which they are tried.
    pub addresses: Vec<HostPort>,
    /// The name that their certificates are for; without one each server's own.
    pub server_name: Option<String>,
    /// How long one address has until TLS is up.
    pub connect_timeout: Duration,
    /// The way to them, if not directly.
    pub proxy: Option<Proxy>,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match split(text)? {
            (host, Some(port)) => Ok(Self { host, port }),
            (_, None) => Err("has no port"),
        }
    }
}

/// Cuts `host`, `host:port`, `2001:db8::1` or `[2001:db8::1]:port`.
fn split(text: &str) -> Result<(String, Option<u16>), &'static str> {
    const BAD_PORT: &str = "the port is not a number from 1 to 65535";
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let port = Some(address.port()).filter(|port| *port > 0).ok_or(BAD_PORT)?;
        return Ok((address.ip().to_string(), Some(port)));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port: &u16| *port > 0).ok_or(BAD_PORT)?)),
        None => (text, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
        return Err("is neither a host name nor an address");
    }
    Ok((host.into(), port))
}

pub(crate) fn read(table: &Table<'_>, directory: &Path) -> Option<Servers> {
    let port = table.number("port", 1..=65_535).map_or(PORT, |found| found.value as u16);
    let server_name = table.string("server_name").map(|found| found.value);
    let connect_timeout = table.number("connect_timeout_ms", 100..=30_000).map_or(3000, |found| found.value);
    let proxy = table.table_or_empty("proxy");
    let proxy = if proxy.is_present() { Some(read_proxy(&proxy, directory)?) } else { None };
    let (one, several) = (table.string("server"), table.strings("servers"));
    if table.has("server") == table.has("servers") {
        let what = if one.is_some() {
            "has its place in servers, or servers has to go: needs one of both"
        } else {
            "is missing: the server's name or address, or servers = [..] with several"
        };
        table.fault(None, "server", what);
        return None;
    }
    let key = if one.is_some() { "server" } else { "servers" };
    let names = several.unwrap_or_else(|| one.into_iter().collect());
    if names.is_empty() || names.len() > MAX_SERVERS {
        table.fault(
            names.first().map(|name| name.at),
            key,
            format!("has to name 1 to {MAX_SERVERS} servers"),
        );
        return None;
    }
    let mut addresses: Vec<HostPort> = Vec::new();
    for name in &names {
        match split(&name.value) {
            Ok((host, own)) => {
                let address = HostPort { host, port: own.unwrap_or(port) };
                if addresses.contains(&address) {
                    table.fault(Some(name.at), key, format!("names {address} twice"));
                }
                addresses.push(address);
            }
            Err(problem) => table.fault(Some(name.at), key, format!("{:?}: {problem}", name.value)),
        }
    }
    let connect_timeout = Duration::from_millis(connect_timeout);
    Some(Servers { addresses, server_name, connect_timeout, proxy })
}

fn read_proxy(table: &Table<'_>, directory: &Path) -> Option<Proxy> {
    let address = table.required("address", table.string("address"));
    let user = table.string("user");
    let has_password = table.has("password") || table.has("password_file");
    let credentials = match user {
        Some(user) if user.value.is_empty() || user.value.contains(|c: char| c == ':' || c.is_control()) => {
            table.fault(
                Some(user.at),
                "user",
                "has to be without colons and control characters (RFC 7617 2)",
            );
            None
        }
        Some(user) => password(table, directory).map(|password| (user.value, password)),
        None if has_password => {
            table.fault(None, "user", "is missing, but there is a password: the proxy wants both, or none");
            None
        }
        None => None,
    };
    table.finish();
    let address = address?;
    match split(&address.value) {
        Ok((host, Some(port))) => Some(Proxy { address: HostPort { host, port }, credentials }),
        Ok((host, None)) => {
            let example = HostPort { host, port: 3128 };
            table.fault(
                Some(address.at),
                "address",
                format!("{:?} has no port: write for example \"{example}\"", address.value),
            );
            None
        }
        Err(problem) if address.value.contains("://") => {
            let what = format!("{:?}: {problem}: write host:port, without http://", address.value);
            table.fault(Some(address.at), "address", what);
            None
        }
        Err(problem) => {
            table.fault(Some(address.at), "address", format!("{:?}: {problem}", address.value));
            None
        }
    }
}
