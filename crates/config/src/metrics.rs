//! `[metrics]`: who may watch the appliance over HTTP.

use std::net::{Ipv4Addr, SocketAddr};

use crate::reader::Table;

/// Where metrics and the read-only page are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where it waits for HTTP (TCP).
    pub listen: SocketAddr,
}

/// The port without a word about it.
const PORT: u16 = 9469;

/// Nothing is served without the table.
pub(crate) fn read(table: &Table<'_>) -> Option<Metrics> {
    let listen = table.parsed::<SocketAddr>("listen");
    let expose = table.boolean("expose").unwrap_or(false);
    table.finish();
    if !table.is_present() {
        return None;
    }
    if let Some(listen) = listen.as_ref().filter(|listen| !listen.value.ip().is_loopback() && !expose) {
        let problem = format!(
            "{} is not of this machine alone: whoever reaches it sees sites, segments and traffic, without a password. Set expose = true \
             if a firewall keeps others away, or listen on 127.0.0.1 and forward the port",
            listen.value
        );
        table.fault(Some(listen.at), "listen", problem);
    }
    Some(Metrics { listen: listen.map_or((Ipv4Addr::LOCALHOST, PORT).into(), |found| found.value) })
}
