//! A client's way to its servers: resolves their names and tries address after address, through a proxy if there is
//! one, until TLS is up.
//!
//! Each address has a time of its own, so that one that swallows our packets does not cost the others theirs. The address on
//! which a login succeeded last comes first the next time, and those that failed since then come last.

mod attempt;
mod connect;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use config::{HostPort, Servers};
use mio::Registry;
use session::{ConnId, Now};

use self::attempt::{Attempt, Progress, To};
use self::names::Names;
use crate::tls::{ClientTls, TlsConn, TlsEvent};

/// The first address is chosen when all names are resolved, or after so long by those that are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Most addresses whose failures are remembered.
const MAX_FAILED: usize = 64;

/// An address to try.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    /// The server as the operator names it.
    server: HostPort,
    /// Where TCP goes: to one of the server's addresses, or of the proxy's.
    at: SocketAddr,
}

/// How a connection that was asked for ended up.
pub(crate) enum Dialed {
    /// TLS is up, with what came on it so far. The server's own address is known unless only a proxy knows it.
    Up(Box<TlsConn>, Vec<TlsEvent>, Option<IpAddr>),
    /// No address answered: why not, one by one.
    Failed(String),
}

/// The connections of a client that are being made.
pub(crate) struct Dialer {
    servers: Servers,
    tls: ClientTls,
    names: Names,
    dials: HashMap<ConnId, Dial>,
    /// Where a login succeeded last.
    preferred: Option<Candidate>,
    /// The certificate that was shown there, and the others of its chain.
    shown: Vec<Vec<u8>>,
    /// What failed since then, the oldest first.
    failed: Vec<Candidate>,
    /// Connections whose login is on its way.
    logging_in: HashMap<ConnId, Candidate>,
}

/// One connection that is being made.
struct Dial {
    /// The Linux interface to leave by.
    interface: Option<String>,
    /// The servers to be tried.
    servers: Vec<HostPort>,
    /// Names that are not resolved yet.
    resolving: Vec<HostPort>,
    asked: Now,
    begun: bool,
    found: Vec<Candidate>,
    candidates: VecDeque<Candidate>,
    /// Addresses of servers behind the proxy, as far as they can be resolved here.
    behind: HashMap<HostPort, IpAddr>,
    attempt: Option<(Candidate, Attempt)>,
    reasons: Vec<String>,
}

impl Dialer {
    pub(crate) fn new(servers: Servers, tls: ClientTls) -> Self {
        Self {
            servers,
            tls,
            names: Names::default(),
            dials: HashMap::new(),
            preferred: None,
            shown: Vec::new(),
            failed: Vec::new(),
            logging_in: HashMap::new(),
        }
    }

    /// How servers are known.
    pub(crate) fn tls(&self) -> &ClientTls {
        &self.tls
    }

    /// The name that their certificates have to be for, if it is not each server's own.
    pub(crate) fn server_name(&self) -> Option<String> {
        self.servers.server_name.clone()
    }

    /// What is against the certificate that was shown at the last login now: it was good then.
    pub(crate) fn verify_again(&self) -> Result<(), String> {
        let Some(candidate) = &self.preferred else { return Ok(()) };
        self.tls.verify_server(&self.shown, name_of(&self.servers, candidate))
    }

    /// Takes other settings, for connections from now on.
    pub(crate) fn change(&mut self, servers: Servers, tls: ClientTls) {
        self.servers = servers;
        self.tls = tls;
    }

    /// Starts a connection, to `redirect` (`host:port`) instead of the servers if it is given, and by a certain Linux interface.
    pub(crate) fn dial(
        &mut self,
        id: ConnId,
        redirect: Option<String>,
        interface: Option<String>,
        now: Now,
    ) -> Result<(), String> {
        let servers = match redirect {
            None => self.servers.addresses.clone(),
            Some(to) => {
                let parsed: Result<HostPort, _> = to.parse();
                vec![parsed.map_err(|problem| format!("the server sends us to {to:?}, which {problem}"))?]
            }
        };
        let mut resolving = servers.clone();
        resolving.extend(self.servers.proxy.as_ref().map(|proxy| proxy.address.clone()));
        for name in &resolving {
            self.names.ask(id, name);
        }
        let dial = Dial {
            interface,
            servers,
            resolving,
            asked: now,
            begun: false,
            found: Vec::new(),
            candidates: VecDeque::new(),
            behind: HashMap::new(),
            attempt: None,
            reasons: Vec::new(),
        };
        self.dials.insert(id, dial);
        Ok(())
    }

    /// Gives up a connection that is being made, or notes that one is over.
    pub(crate) fn ended(&mut self, id: ConnId) {
        self.dials.remove(&id);
        if let Some(candidate) = self.logging_in.remove(&id) {
            self.note_failed(candidate);
        }
    }

    /// The login on a connection has succeeded, whose server showed the certificates `shown`.
    pub(crate) fn logged_in(&mut self, id: ConnId, shown: Vec<Vec<u8>>) {
        if let Some(candidate) = self.logging_in.remove(&id) {
            (self.preferred, self.shown) = (Some(candidate), shown);
            self.failed.clear();
        }
    }

    /// Does what is due and returns what has ended.
    pub(crate) fn tick(&mut self, registry: &Registry, now: Now) -> Vec<(ConnId, Dialed)> {
        for (id, name, addresses) in self.names.answers() {
            self.resolved(id, &name, addresses);
        }
        let ids: Vec<ConnId> = self.dials.keys().copied().collect();
        let mut ended = Vec::new();
        for id in ids {
            let limit = self.servers.connect_timeout;
            let Some(dial) = self.dials.get_mut(&id) else { continue };
            if now >= dial.asked + limit.max(PATIENCE) {
                for name in dial.resolving.extract_if(.., |name| matters(&self.servers, name)) {
                    dial.reasons.push(format!("{name}: its name was not resolved in time"));
                }
            }
            if let Some((candidate, attempt)) = &dial.attempt {
                if now < attempt.until {
                    continue;
                }
                let reason = format!("{} within {limit:?}", attempt.waits_for());
                let candidate = candidate.clone();
                self.fail(id, candidate, &reason);
            }
            ended.extend(self.proceed(id, registry, now).map(|dialed| (id, dialed)));
        }
        ended
    }

    /// The socket of a connection that is being made is ready. Returns how it ended, if it has.
    pub(crate) fn drive(&mut self, id: ConnId, registry: &Registry, now: Now) -> Option<Dialed> {
        let (candidate, attempt) = self.dials.get_mut(&id)?.attempt.as_mut()?;
        let candidate = candidate.clone();
        match attempt.drive(&self.tls, registry) {
            Progress::Waiting => None,
            Progress::Up(tls, events) => {
                let dial = self.dials.remove(&id)?;
                let address = match self.servers.proxy {
                    Some(_) => dial.behind.get(&candidate.server).copied(),
                    None => Some(candidate.at.ip()),
                };
                self.logging_in.insert(id, candidate);
                Some(Dialed::Up(tls, events, address))
            }
            Progress::Failed(reason) => {
                self.fail(id, candidate, &reason);
                self.proceed(id, registry, now)
            }
        }
    }

    /// Takes the next address. Returns how the dial ended, if there is none.
    fn proceed(&mut self, id: ConnId, registry: &Registry, now: Now) -> Option<Dialed> {
        loop {
            let dial = self.dials.get_mut(&id)?;
            let resolving = dial.resolving.iter().any(|name| matters(&self.servers, name));
            if !dial.begun {
                if resolving && (dial.found.is_empty() || now < dial.asked + PATIENCE) {
                    return None;
                }
                dial.begun = true;
            }
            let mut found = std::mem::take(&mut dial.found);
            found.sort_by_key(|candidate| rank(candidate, self.preferred.as_ref(), &self.failed));
            dial.candidates.extend(found);
            let Some(candidate) = dial.candidates.pop_front() else {
                if resolving {
                    return None;
                }
                let dial = self.dials.remove(&id)?;
                return Some(Dialed::Failed(dial.reasons.join("; ")));
            };
            let name = name_of(&self.servers, &candidate).to_owned();
            let limit = now + self.servers.connect_timeout;
            let proxy = self.servers.proxy.as_ref().map(|proxy| (proxy, &candidate.server));
            let to = To { at: candidate.at, interface: dial.interface.as_deref(), proxy };
            match Attempt::start(id, to, name, limit, &self.tls, registry) {
                Ok(attempt) => {
                    dial.attempt = Some((candidate, attempt));
                    return None;
                }
                Err(reason) => self.fail(id, candidate, &reason),
            }
        }
    }

    fn resolved(&mut self, id: ConnId, name: &HostPort, addresses: Result<Vec<SocketAddr>, String>) {
        let Some(dial) = self.dials.get_mut(&id) else { return };
        if !dial.resolving.contains(name) {
            return;
        }
        dial.resolving.retain(|other| other != name);
        let proxy = self.servers.proxy.as_ref().map(|proxy| &proxy.address);
        match (addresses, proxy) {
            (Ok(addresses), None) => {
                let candidates = addresses.iter().take(MAX_ADDRESSES);
                dial.found.extend(candidates.map(|at| Candidate { server: name.clone(), at: *at }));
            }
            (Ok(addresses), Some(proxy)) if proxy == name => {
                for server in &dial.servers {
                    let candidates = addresses.iter().take(MAX_ADDRESSES);
                    dial.found.extend(candidates.map(|at| Candidate { server: server.clone(), at: *at }));
                }
            }
            (Ok(addresses), Some(_)) => {
                dial.behind.extend(addresses.first().map(|at| (name.clone(), at.ip())));
            }
            // The proxy may resolve what we cannot.
            (Err(_), Some(proxy)) if proxy != name => {}
            (Err(reason), _) => dial.reasons.push(reason),
        }
        // Names come back in any order.
        let place =
            |candidate: &Candidate| dial.servers.iter().position(|server| *server == candidate.server);
        dial.found.sort_by_key(place);
    }

    fn fail(&mut self, id: ConnId, candidate: Candidate, reason: &str) {
        let Some(dial) = self.dials.get_mut(&id) else { return };
        dial.attempt = None;
        let Candidate { server, at } = &candidate;
        let who = match &self.servers.proxy {
            Some(proxy) => format!("{server} through the proxy {}", proxy.address),
            None if server.host == at.ip().to_string() => server.to_string(),
            None => format!("{server} at {}", at.ip()),
        };
        dial.reasons.push(format!("{who}: {reason}"));
        self.note_failed(candidate);
    }

    fn note_failed(&mut self, candidate: Candidate) {
        self.failed.retain(|other| *other != candidate);
        if self.failed.len() >= MAX_FAILED {
            self.failed.remove(0);
        }
        self.failed.push(candidate);
    }
}

/// The name that a server's certificate has to be for.
fn name_of<'a>(servers: &'a Servers, candidate: &'a Candidate) -> &'a str {
    // A redirect to another address than its certificate's is for the operator to name.
    let first = servers.addresses.first().map_or("", |server| &server.host);
    let of_list = servers.addresses.contains(&candidate.server);
    servers.server_name.as_deref().unwrap_or(if of_list { &candidate.server.host } else { first })
}

/// Whether a name has to be resolved here: behind a proxy only the proxy's.
fn matters(servers: &Servers, name: &HostPort) -> bool {
    servers.proxy.as_ref().is_none_or(|proxy| proxy.address == *name)
}

/// The smaller, the sooner an address is tried: the one that worked last, then those that have not failed since, in the order of
/// the configuration, then the others, the one that failed longest ago first.
fn rank(candidate: &Candidate, preferred: Option<&Candidate>, failed: &[Candidate]) -> (usize, bool) {
    let failed = failed.iter().position(|other| other == candidate).map_or(0, |at| at + 1);
    (failed, preferred != Some(candidate))
}
