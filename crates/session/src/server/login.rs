//! Who a client is, and whether it may come in (protocol 2.3, 2.4).

use std::time::Duration;

use record::Cipher;
use wire::way::MAX_PATHS;

use super::parts::{Agreed, Conn, Stage};
use super::{Admission, Server};
use crate::client::printable;
use crate::link::Link;
use crate::message::{Login, MECHANISM, Message, VERSION, Welcome, refusal};
use crate::scram::{self, BINDING_LEN, ServerScram, Verifier};
use crate::{ConnId, MAX_LANES, Now};

/// How long the present peer of a site has to give a sign of life when another wants its place (protocol 2.4).
pub(super) const CONFLICT_TIME: Duration = Duration::from_secs(1);

impl Server {
    pub(super) fn login(
        &mut self,
        now: Now,
        id: ConnId,
        login: Login,
        binding: [u8; BINDING_LEN],
    ) -> Result<(), String> {
        if login.versions.0 < VERSION || login.versions.1 > VERSION {
            let (highest, lowest) = login.versions;
            self.refuse(id, refusal::VERSION, "this server speaks version 1");
            self.fail(now, id, &format!("the client speaks versions {lowest} to {highest}, not {VERSION}"));
            return Ok(());
        }
        if login.mechanism != MECHANISM {
            return Err(format!("the client wants SASL mechanism {:?}", printable(&login.mechanism)));
        }
        let (name, bare) = scram::parse_first(&login.first).map_err(|error| error.to_string())?;
        let mut known = self.params.sites.iter().zip(&self.sites);
        let site = known.position(|(params, site)| params.name == name && !site.vacant);
        let verifier = match site {
            Some(site) => self.params.sites[site].verifier.clone(),
            None => {
                let like = self.params.sites.first().map(|site| &site.verifier);
                Verifier::for_nobody(&name, &self.secret, like)
            }
        };
        let scram = ServerScram::new(&bare, verifier, binding, &mut *self.random)
            .map_err(|error| error.to_string())?;
        let challenge = Message::Challenge(scram.challenge());
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::Challenged { scram: Box::new(scram), site, login };
        }
        self.send(id, &challenge);
        Ok(())
    }

    pub(super) fn response(&mut self, now: Now, id: ConnId, response: &[u8]) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Stage::Challenged { scram, site, login } = std::mem::replace(&mut conn.stage, Stage::Handshake)
        else {
            return Ok(());
        };
        let from = conn.from;
        // The same work and the same answer whether or not the name exists.
        let proof = scram.verify(response);
        let (site, last) = match (site, proof) {
            (Some(site), Ok(last)) => (site, last),
            (site, proof) => {
                let error = proof.err().map_or_else(String::new, |error| error.to_string());
                let name = scram::parse_first(&login.first)
                    .map_or_else(|_| "?".into(), |(name, _)| printable(&name));
                let reason = match site {
                    Some(site) => {
                        let reason = format!("login of site {name:?} from {from} failed: {error}");
                        self.sites[site].last_failure = Some((now, reason.clone()));
                        reason
                    }
                    None => format!("login from {from} failed: there is no site {name:?}"),
                };
                self.refuse(id, refusal::AUTHENTICATION, "authentication failed");
                self.fail(now, id, &reason);
                return Ok(());
            }
        };
        conn.framer.authenticated();
        let name = self.params.sites[site].name.clone();
        let disabled = match self.params.sites[site].admission {
            Admission::Open => None,
            Admission::SiteDisabled => Some("the site is disabled"),
            Admission::ServiceDisabled => Some("the service is disabled"),
        };
        if let Some(disabled) = disabled {
            self.refuse(id, refusal::DISABLED, disabled);
            self.fail(now, id, &format!("{disabled}: the login of site {name:?} from {from} was refused"));
            return Ok(());
        }
        if let Some(reason) = self.certificate_fault(id, site) {
            self.refuse(id, refusal::AUTHENTICATION, "authentication failed");
            self.sites[site].last_failure = Some((now, reason.clone()));
            self.fail(now, id, &reason);
            return Ok(());
        }
        let taken = self.sites[site].link.is_some() && self.sites[site].instance != login.instance;
        if !taken {
            return self.welcome(now, id, site, login, last);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stage = Stage::Conflict { site, login, last, asked: now };
        }
        self.with_link(now, super::index(site), Link::ask);
        self.settle(now, id);
        Ok(())
    }

    /// Decides between the present peer of a site and a newcomer (protocol 2.4).
    pub(super) fn settle(&mut self, now: Now, id: ConnId) {
        let Some(Conn { stage: Stage::Conflict { site, asked, .. }, from, .. }) = self.conns.get(&id) else {
            return;
        };
        let (at, asked, from) = (*site, *asked, *from);
        let site = &self.sites[at];
        let alive = site.link.as_ref().is_some_and(|link| {
            let connected = site.current.is_some() && link.heard_within(CONFLICT_TIME, now);
            connected || link.last_heard() > asked
        });
        if alive {
            self.refuse_second(now, id, at);
        } else if now >= asked + CONFLICT_TIME || site.link.is_none() {
            self.down(now, at, &format!("the site logged in anew from {from}"));
            let Some(conn) = self.conns.get_mut(&id) else { return };
            if let Stage::Conflict { login, last, .. } = std::mem::replace(&mut conn.stage, Stage::Handshake)
            {
                // Welcoming fails only for want of a common cipher, which it has told the client.
                let _ = self.welcome(now, id, at, login, last);
            }
        }
    }

    /// Another instance has the site.
    pub(super) fn refuse_second(&mut self, now: Now, id: ConnId, at: usize) {
        let Some(from) = self.conns.get(&id).map(|conn| conn.from) else { return };
        let name = &self.params.sites[at].name;
        let reason = format!("site {name:?} is connected already; a second login from {from} was refused");
        self.sites[at].last_failure = Some((now, reason.clone()));
        self.refuse(id, refusal::ELSEWHERE, "the site is connected from elsewhere");
        self.fail(now, id, &reason);
    }

    fn welcome(
        &mut self,
        now: Now,
        id: ConnId,
        site: usize,
        login: Login,
        last: Vec<u8>,
    ) -> Result<(), String> {
        let offered = |cipher: &&Cipher| login.ciphers.contains(&cipher.code());
        let Some(cipher) = self.params.ciphers.iter().find(offered).copied() else {
            let name = &self.params.sites[site].name;
            let offered = named(login.ciphers.iter().copied());
            let taken = named(self.params.ciphers.iter().map(|cipher| cipher.code()));
            let reason =
                format!("no common data cipher: site {name:?} offers {offered}, this server takes {taken}");
            self.refuse(id, refusal::CIPHER, &format!("the site offers {offered}, the server takes {taken}"));
            self.sites[site].last_failure = Some((now, reason.clone()));
            self.fail(now, id, &reason);
            return Ok(());
        };
        let most = MAX_LANES / self.params.workers.max(1);
        let tcp = login.tcp && self.params.tcp && most > 1;
        let paths = login.paths.min(most - usize::from(tcp)).clamp(1, MAX_PATHS);
        let dead_peer = self.params.dead_peer;
        let welcome = Message::Welcome(Welcome {
            last,
            version: VERSION,
            lanes: self.params.workers * (paths + usize::from(tcp)),
            data_port: self.params.data_port,
            segments: self.params.sites[site].segments.clone(),
            dead_peer_ms: dead_peer.as_millis() as u64,
            cipher: cipher.code(),
            paths,
            tcp,
        });
        if let Some(conn) = self.conns.get_mut(&id) {
            let software = printable(&login.software);
            let instance = login.instance;
            conn.stage = Stage::Welcomed(Agreed { site, instance, cipher, software, paths, tcp, dead_peer });
            // A conflict may have taken its time.
            conn.started = now;
        }
        self.send(id, &welcome);
        Ok(())
    }
}

/// The names of data ciphers.
fn named(codes: impl Iterator<Item = u64>) -> String {
    let name =
        |code| Cipher::from_code(code).map_or_else(|| format!("cipher {code}"), |known| known.name().into());
    let names: Vec<String> = codes.map(name).collect();
    if names.is_empty() { "none".into() } else { names.join(" or ") }
}
