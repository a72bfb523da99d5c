//! From the server's `welcome` to a session with lanes, as a new one or a new epoch of the present one (protocol 2.3).

use std::net::SocketAddr;
use std::time::Duration;

use record::{Cipher, LaneId, Suite};
use wire::way::Way;

use super::{Client, SESSION, Stage};
use crate::epoch::{self, Direction, Epoch};
use crate::link::{self, Link, Shape, Tools};
use crate::message::{VERSION, Welcome};
use crate::{ConnId, Exporter, Level, Now, Output};

impl Client {
    /// Makes the receive lanes.
    pub(super) fn prepare(
        &mut self,
        id: ConnId,
        welcome: Welcome,
        exporter: &dyn Exporter,
    ) -> Result<(), String> {
        let (asked, offered) = (self.paths(), self.offers_tcp());
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let (_, fingerprint) = conn.server.ok_or("not connected")?;
        if welcome.version != VERSION {
            return Err(format!(
                "the server speaks version {} of the protocol, not {VERSION}",
                welcome.version
            ));
        }
        let cipher = Cipher::from_code(welcome.cipher).filter(|cipher| self.params.ciphers.contains(cipher));
        let cipher = cipher.ok_or("the server chose a cipher that was not offered")?;
        if !welcome.tcp && !self.params.udp {
            return Err("the server takes no records over TCP, and transport is \"tcp\" here".into());
        }
        let paths = welcome.paths + usize::from(welcome.tcp);
        if welcome.paths > asked || welcome.tcp && !offered || !welcome.lanes.is_multiple_of(paths) {
            return Err(format!("the server opened {} lanes for {paths} paths", welcome.lanes));
        }
        let lanes = self.ids.allocate(welcome.lanes, &mut *self.random);
        let suite = Suite { cipher, engine: self.params.engine };
        let epoch = Epoch { exporter, site: &self.params.site, fingerprint: &fingerprint, suite };
        let made = epoch.rx_lanes(Direction::ServerToClient, &lanes).map_err(|error| error.to_string())?;
        let per_path = welcome.lanes / paths;
        conn.stage = Stage::Preparing { welcome, missing: lanes.iter().copied().collect(), lanes };
        self.out.extend(epoch::install_rx(SESSION, per_path, made));
        Ok(())
    }

    /// The session comes up, or goes over to a new epoch.
    pub(super) fn opened(
        &mut self,
        now: Now,
        id: ConnId,
        welcome: &Welcome,
        rx: Vec<LaneId>,
        tx: &[LaneId],
        exporter: &dyn Exporter,
    ) -> Result<(), String> {
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        let ((address, fingerprint), uplink) = (conn.server.ok_or("not connected")?, conn.uplink);
        let cipher = Cipher::from_code(welcome.cipher).ok_or("no cipher")?;
        let (workers, paths, tcp) = (self.params.workers, welcome.paths, welcome.tcp);
        let expected = workers * (paths + usize::from(tcp));
        if tx.len() != expected {
            link::remove(&rx, &mut self.ids, &mut self.out);
            return Err(format!("the server opened {} lanes instead of {expected}", tx.len()));
        }
        let suite = Suite { cipher, engine: self.params.engine };
        let epoch = Epoch { exporter, site: &self.params.site, fingerprint: &fingerprint, suite };
        let lanes = epoch.tx_lanes(Direction::ClientToServer, tx, now).map_err(|error| error.to_string())?;
        self.out.extend(epoch::install_tx(SESSION, workers, lanes));
        let peer = address.map(|address| SocketAddr::new(address, welcome.data_port));
        self.log_segments(&welcome.segments);
        let line = match self.link {
            Some(_) => {
                self.renewals += 1;
                "the session has new keys".into()
            }
            None => {
                let server = address.map_or("behind a proxy".into(), |address| address.to_string());
                format!("the session is up: server {server}, {}, paths: {paths}", cipher.name())
            }
        };
        self.out.push_back(Output::Log(Level::Info, line));
        let dead_peer = Duration::from_millis(welcome.dead_peer_ms.clamp(300, 60_000));
        let shape = Shape { rx, paths, tcp, dead_peer };
        let Self { link, params, random, out, .. } = self;
        let tools = &mut Tools { now, uplinks: &params.uplinks, random: &mut **random, out };
        let link = Link::open(link, SESSION, params.raise_after, shape, tools);
        for (path, uplink) in params.uplinks.0.iter().take(paths).enumerate() {
            if let Some(peer) = peer.filter(|_| params.udp) {
                link.set_way(path, Way { port: uplink.port, local: None, peer }, tools);
            }
        }
        if !tcp {
            // What came by TCP came by this path.
            link.heard(uplink.min(paths - 1), now);
        }
        self.moving = false;
        self.doubt = None;
        self.peer_segments.clone_from(&welcome.segments);
        self.cipher = Some(cipher);
        self.failures = 0;
        self.attempt = None;
        self.out.push_back(Output::LoggedIn(id));
        if let Some(older) = self.current.replace(id) {
            self.leave(now, older);
        }
        // Several clients of one server should not renew in step.
        self.connect_at = Some(now + self.jitter(self.params.rekey));
        self.out.push_back(Output::Changed(SESSION));
        Ok(())
    }
}
