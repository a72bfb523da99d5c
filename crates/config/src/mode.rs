//! `[server]` or `[client]`: the tunnel's side.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::credentials::{self, Authority, OwnCertificate};
use crate::reader::Table;
use crate::segments::{self, Segment};
use crate::servers::{self, Servers};
use crate::share::{self, Share};
use crate::storm::{self, SiteStormLimits};
use crate::transport::{self, Transport};

/// Server or client.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The hub.
    Server(Server),
    /// A spoke.
    Client(Client),
}

impl Mode {
    /// Whether the service runs.
    pub fn enabled(&self) -> bool {
        match self {
            Self::Server(server) => server.enabled,
            Self::Client(client) => client.enabled,
        }
    }
}

/// A hub, to which sites connect.
#[derive(Clone, Debug)]
pub struct Server {
    /// Whether sites may connect at all.
    pub enabled: bool,
    /// Where it waits for sites (TCP).
    pub listen: SocketAddr,
    /// UDP port of the data channel.
    pub data_port: u16,
    /// Its certificate and key.
    pub certificate: OwnCertificate,
    /// What vouches for certificates of sites, if they may show any.
    pub clients: Option<Authority>,
    /// A session is down when nothing was heard for so long.
    pub dead_peer: Duration,
    /// Connections that may be unauthenticated at one time.
    pub max_half_open: usize,
    /// The data ciphers it takes, best first.
    pub ciphers: Vec<Cipher>,
    /// Whether records of its sites may go over TCP.
    pub transport: Transport,
    /// Other services behind the TCP port.
    pub shares: Vec<Share>,
    /// The sites that may connect.
    pub sites: Vec<Site>,
}

/// A site that a server knows.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name: what it logs in with.
    pub user: String,
    /// For people.
    pub description: String,
    /// What `causeway passwd` printed for its password.
    pub verifier: String,
    /// Positions of the segments that it may join.
    pub segments: Vec<usize>,
    /// Whether it may connect.
    pub enabled: bool,
    /// The name that its certificate must carry, if it has to show one.
    pub certificate_name: Option<String>,
    /// Most addresses that are learned behind it.
    pub max_macs: Option<u32>,
    /// How much of what is flooded it may send into each segment, where that is not what every site may.
    pub storm: SiteStormLimits,
    /// Gateway addresses that it resolves and routes by itself, beside those that every site does: the segment's position and the
    /// address.
    pub egress: Vec<(usize, IpAddr)>,
}

/// A spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whether it connects at all.
    pub enabled: bool,
    /// Where its servers are, and how it gets there.
    pub servers: Servers,
    /// What carries its records.
    pub transport: Transport,
    /// The site's name at the server.
    pub user: String,
    /// The site's password.
    pub password: Password,
    /// How it knows its server.
    pub trust: Trust,
    /// The certificate that it shows beside its password.
    pub certificate: Option<OwnCertificate>,
    /// Local UDP port of the data channel; 0: any.
    pub data_port: u16,
    /// The data ciphers it offers, best first.
    pub ciphers: Vec<Cipher>,
    /// How long the keys of one TLS handshake are used.
    pub rekey: Duration,
}

impl Client {
    /// Whether a session goes on when the configuration changes from this to `new`: by what the ends know each other is looked at in the
    /// next handshake.
    pub fn goes_on_with(&self, new: &Self) -> bool {
        let same = Self {
            trust: new.trust.clone(),
            servers: Servers { server_name: new.servers.server_name.clone(), ..self.servers.clone() },
            certificate: new.certificate.clone(),
            ..self.clone()
        };
        same == *new
    }
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// How a client knows its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The SHA-256 of its certificate, or of those that it may have.
    Fingerprints(Vec<[u8; 32]>),
    /// Certificates of CAs.
    Ca(Authority),
}

/// A data cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
}

pub(crate) fn read(root: &Table<'_>, segments: &[Segment], directory: &Path, state: &Path) -> Option<Mode> {
    let (server_table, client_table) = (root.table_or_empty("server"), root.table_or_empty("client"));
    let mode = root.required("mode", root.string("mode"))?;
    let (chosen, other, other_name) = match mode.value.as_str() {
        "server" => (&server_table, &client_table, "client"),
        "client" => (&client_table, &server_table, "server"),
        wrong => {
            root.fault(Some(mode.at), "mode", format!("{wrong:?} is neither \"server\" nor \"client\""));
            return None;
        }
    };
    if other.is_present() {
        other.fault(None, "", format!("has no place in mode = {:?}: drop [{other_name}]", mode.value));
    }
    let read = match mode.value.as_str() {
        "server" => server(chosen, segments, directory, state).map(Mode::Server),
        _ => client(chosen, directory).map(Mode::Client),
    };
    chosen.finish();
    read
}

fn server(table: &Table<'_>, segments: &[Segment], directory: &Path, state: &Path) -> Option<Server> {
    let enabled = table.boolean("enabled").unwrap_or(true);
    let listen = table.parsed::<SocketAddr>("listen");
    let data_port = table.number("data_port", 1..=65_535).map_or(443, |found| found.value) as u16;
    let certificate = credentials::own(table, directory);
    let clients = credentials::clients(table, directory);
    let dead_peer = table.number("dead_peer_ms", 300..=60_000).map_or(3000, |found| found.value);
    let max_half_open = table.number("max_half_open", 1..=10_000).map_or(64, |found| found.value);
    let ciphers = credentials::ciphers(table);
    let listen = listen.map_or((Ipv6Addr::UNSPECIFIED, 443).into(), |found| found.value);
    let transport = transport::read(table, &[Transport::Auto, Transport::Udp]);
    let shares = share::read(table, listen);
    let mut sites: Vec<Site> = Vec::new();
    for table in table.tables("site") {
        let found = site(&table, segments, clients.as_ref());
        table.finish();
        let Some(site) = found else { continue };
        if sites.iter().any(|other| other.user == site.user) {
            table.fault(None, "user", format!("there is another site {:?}", site.user));
        }
        sites.push(site);
    }
    Some(Server {
        enabled,
        listen,
        data_port,
        certificate: certificate.unwrap_or_else(|| credentials::made(state)),
        clients,
        dead_peer: Duration::from_millis(dead_peer),
        max_half_open: max_half_open as usize,
        ciphers,
        transport,
        shares,
        sites,
    })
}

fn site(table: &Table<'_>, segments: &[Segment], clients: Option<&Authority>) -> Option<Site> {
    let user = user(table);
    let description = table.string("description").map_or(String::new(), |found| found.value);
    let verifier = table.required("verifier", table.string("verifier"));
    if let Some(found) = &verifier {
        if !found.value.starts_with("SCRAM-SHA-256$") {
            table.fault(
                Some(found.at),
                "verifier",
                "is not what `causeway passwd` prints (SCRAM-SHA-256$...)",
            );
        }
    }
    let enabled = table.boolean("enabled").unwrap_or(true);
    let certificate_name = credentials::required_name(table, user.as_deref(), clients);
    let max_macs = segments::max_macs(table);
    let storm = storm::of_site(table);
    let joined: Vec<usize> = match table.strings("segments") {
        None => (0..segments.len()).collect(),
        Some(names) => names
            .iter()
            .filter_map(|name| {
                let at = segments.iter().position(|segment| segment.name == name.value);
                if at.is_none() {
                    table.fault(Some(name.at), "segments", format!("there is no segment {:?}", name.value));
                }
                at
            })
            .collect(),
    };
    let egress = egress(table, segments, &joined);
    let user = user?;
    Some(Site {
        user,
        description,
        verifier: verifier?.value,
        segments: joined,
        enabled,
        certificate_name,
        max_macs,
        storm,
        egress,
    })
}

/// The gateway addresses that a site keeps to itself, each with the segment that it belongs to.
fn egress(table: &Table<'_>, segments: &[Segment], joined: &[usize]) -> Vec<(usize, IpAddr)> {
    let mut kept = Vec::new();
    for address in table.parsed_list::<IpAddr>("egress").unwrap_or_default() {
        let of =
            |at: &&usize| segments[**at].gateway.as_ref().is_some_and(|gateway| gateway.has(address.value));
        match joined.iter().find(of) {
            Some(at) => kept.push((*at, address.value)),
            None => table.fault(
                Some(address.at),
                "egress",
                format!(
                    "{} is a gateway address of none of the site's segments: egress optimization needs a gateway at this \
                     site too; add it to the segment's gateway.addresses, or drop it here",
                    address.value
                ),
            ),
        }
    }
    kept
}

/// The name is part of the key derivation with a length of one octet (protocol 3).
fn user(table: &Table<'_>) -> Option<String> {
    let user = table.required("user", table.string("user"))?;
    if !(1..=255).contains(&user.value.len()) || user.value.contains(char::is_control) {
        table.fault(Some(user.at), "user", "has to be 1 to 255 octets without control characters");
        return None;
    }
    Some(user.value)
}

fn client(table: &Table<'_>, directory: &Path) -> Option<Client> {
    let enabled = table.boolean("enabled").unwrap_or(true);
    let servers = servers::read(table, directory);
    let transport = transport::read(table, &[Transport::Auto, Transport::Udp, Transport::Tcp]);
    let user = user(table);
    let password = password(table, directory);
    let trust = credentials::trust(table, directory);
    let certificate = credentials::own(table, directory);
    let data_port = table.number("data_port", 0..=65_535).map_or(0, |found| found.value) as u16;
    let ciphers = credentials::ciphers(table);
    let rekey = table.number("rekey_minutes", 1..=14).map_or(10, |found| found.value);
    Some(Client {
        enabled,
        servers: servers?,
        transport,
        user: user?,
        password: password?,
        trust: trust?,
        certificate,
        data_port,
        ciphers,
        rekey: Duration::from_secs(60 * rekey),
    })
}

pub(crate) fn password(table: &Table<'_>, directory: &Path) -> Option<Password> {
    let given = table.string("password");
    let file = table.string("password_file");
    let text = match (given, file) {
        (Some(given), None) => Zeroizing::new(given.value),
        (None, Some(file)) => {
            let path = directory.join(&file.value);
            match std::fs::read_to_string(&path).map(Zeroizing::new) {
                Ok(text) => Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let problem = format!("cannot read {}: {error}", path.display());
                    table.fault(Some(file.at), "password_file", problem);
                    return None;
                }
            }
        }
        _ => {
            table.fault(None, "password", "needs exactly one of password and password_file");
            return None;
        }
    };
    if text.is_empty() {
        table.fault(None, "password", "is empty");
        return None;
    }
    Some(Password(text))
}
