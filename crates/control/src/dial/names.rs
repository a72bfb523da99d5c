//! Names to addresses. The system's resolver blocks, so each name has a thread of its own while it is asked for.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use config::HostPort;
use crossbeam::channel::{Receiver, Sender, unbounded};
use session::ConnId;

/// Who asked, for what, and what came of it.
type Answer = (ConnId, HostPort, Result<Vec<SocketAddr>, String>);

/// Names that are being resolved.
pub(super) struct Names(Sender<Answer>, Receiver<Answer>);

impl Default for Names {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        Self(sender, receiver)
    }
}

impl Names {
    /// Asks for the addresses of a host. An address is its own answer.
    pub(super) fn ask(&self, id: ConnId, name: &HostPort) {
        let (tell, name) = (self.0.clone(), name.clone());
        if let Ok(address) = name.host.parse::<IpAddr>() {
            let answer = Ok(vec![SocketAddr::new(address, name.port)]);
            // We hold the receiver ourselves.
            let _ = tell.send((id, name, answer));
            return;
        }
        let (failed, failed_name) = (tell.clone(), name.clone());
        let resolve = move || {
            // It parses what strangers answer, and has the control thread's rights.
            if let Err(error) = confine::give_up_capabilities_of_this_thread() {
                let _ = tell.send((id, name, Err(format!("the resolver: {error}"))));
                return;
            }
            let found = (name.host.as_str(), name.port).to_socket_addrs();
            let answer = match found.map(Iterator::collect::<Vec<_>>) {
                Ok(addresses) if addresses.is_empty() => Err(format!("{} has no address", name.host)),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(format!("cannot resolve {}: {error}", name.host)),
            };
            // Nobody listens only when the appliance is ending.
            let _ = tell.send((id, name, answer));
        };
        if let Err(error) = std::thread::Builder::new().name("resolver".into()).spawn(resolve) {
            let _ = failed.send((id, failed_name, Err(format!("cannot start a thread: {error}"))));
        }
    }

    /// What has been answered.
    pub(super) fn answers(&self) -> Vec<Answer> {
        self.1.try_iter().collect()
    }
}
