//! `[[server.share]]`: other services behind the server's TCP port.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reader::Table;

/// Protocol name of our own connections (ALPN), which are never passed on.
const OWN_ALPN: &str = "causeway/1";

/// Connections that are passed on to another service. The first that fits a connection gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The server name that the client asks for, in lower case; `*.` in front stands for one label.
    pub sni: Option<String>,
    /// A protocol that the client offers.
    pub alpn: Option<String>,
    /// Where they go.
    pub to: SocketAddr,
    /// Whether the service is told who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Most connections at one time.
    pub max_connections: usize,
    /// Without an octet for so long, a connection is closed.
    pub idle: Duration,
}

/// The header that tells a service who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Octets.
    V2,
}

pub(crate) fn read(server: &Table<'_>, listen: SocketAddr) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for table in server.tables("share") {
        let found = share(&table, listen);
        table.finish();
        let Some(share) = found else { continue };
        let same = |other: &Share| other.sni == share.sni && other.alpn == share.alpn;
        let everything = |other: &Share| other.sni.is_none() && other.alpn.is_none();
        if shares.iter().any(same) {
            table.fault(None, "", "fits the same connections as one before it: drop one of them");
        } else if shares.iter().any(everything) {
            table.fault(None, "", "never gets a connection: the one with default = true has to be the last");
        }
        shares.push(share);
    }
    shares
}

fn share(table: &Table<'_>, listen: SocketAddr) -> Option<Share> {
    let sni = table.string("sni").and_then(|found| {
        let name = found.value.to_ascii_lowercase();
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if bare.is_empty() || bare.len() > 253 || !bare.chars().all(fits) {
            let what = format!("{:?} is no host name, nor \"*.\" and one", found.value);
            table.fault(Some(found.at), "sni", what);
            return None;
        }
        Some(name)
    });
    let alpn = table.string("alpn").and_then(|found| match found.value.as_str() {
        OWN_ALPN => {
            table.fault(Some(found.at), "alpn", "is Causeway's own, which is never passed on");
            None
        }
        name if name.is_empty() || name.len() > 255 => {
            table.fault(Some(found.at), "alpn", "has to be 1 to 255 octets, for example \"h2\"");
            None
        }
        _ => Some(found.value),
    });
    let default = table.boolean("default").unwrap_or(false);
    let named = table.has("sni") || table.has("alpn");
    if default == named {
        let what = if named {
            "contradicts sni and alpn: it takes all that nothing else fits"
        } else {
            "is missing: say which connections are meant with sni, alpn, or default = true"
        };
        table.fault(None, "default", what);
        return None;
    }
    let to = table.required("to", table.parsed::<SocketAddr>("to"));
    if let Some(found) = &to {
        let here = found.value.ip().is_loopback() || found.value.ip() == listen.ip();
        if found.value.port() == listen.port() && (here || found.value.ip().is_unspecified()) {
            table.fault(Some(found.at), "to", "is the server's own port: give the service another one");
        }
    }
    let proxy_protocol = table.string("proxy_protocol").and_then(|found| match found.value.as_str() {
        "v1" => Some(ProxyProtocol::V1),
        "v2" => Some(ProxyProtocol::V2),
        other => {
            let what = format!("{other:?} is neither \"v1\" nor \"v2\"");
            table.fault(Some(found.at), "proxy_protocol", what);
            None
        }
    });
    let max_connections = table.number("max_connections", 1..=16_384).map_or(512, |found| found.value);
    let idle = table.number("idle_s", 1..=86_400).map_or(300, |found| found.value);
    Some(Share {
        sni,
        alpn,
        to: to?.value,
        proxy_protocol,
        max_connections: max_connections as usize,
        idle: Duration::from_secs(idle),
    })
}
