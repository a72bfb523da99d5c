//! TCP 443 shared with other services: a thread of its own accepts connections, looks at their ClientHello without taking
//! it, and passes those of others on to them, octet by octet. A busy web server so costs the sessions nothing but bandwidth. Our own
//! connections go to the control thread as if it had accepted them itself.

mod door;
mod header;
mod hello;
mod relay;
mod route;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use config::Share;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Poll, Waker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::door::Door;
use self::route::{Counts, Service};

/// Our own connections that wait for the control thread.
const WAITING: usize = 256;

/// The thread that shares the port.
pub(crate) struct SharedPort {
    ours: Receiver<(TcpStream, SocketAddr)>,
    changes: Sender<Vec<Service>>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    shares: Vec<(Share, Arc<Counts>)>,
}

impl SharedPort {
    /// Takes the listener over. `wakes` is woken when there is a connection of ours.
    pub(crate) fn start(listener: TcpListener, shares: &[Share], wakes: Arc<Waker>) -> io::Result<Self> {
        allow_many_files();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), door::WAKER)?);
        let (tell, ours) = bounded(WAITING);
        let (changes, changed) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let door = Door::new(poll, listener, changed, Arc::clone(&stop), move |stream, peer| {
            // A control thread that is so far behind has no use for more; the client tries again.
            if tell.try_send((stream, peer)).is_err() {
                tracing::debug!(%peer, "a connection was dropped: too many wait");
            }
            if let Err(error) = wakes.wake() {
                tracing::warn!(%error, "cannot wake the control thread");
            }
        })?;
        let thread = Builder::new().name("shared-port".into()).spawn(move || door.run())?;
        let mut port = Self { ours, changes, waker, stop, thread: Some(thread), shares: Vec::new() };
        port.change(shares);
        Ok(port)
    }

    /// Passes connections on as `shares` say, from now on. Those that are passed on already stay, unless their service is gone.
    pub(crate) fn change(&mut self, shares: &[Share]) {
        let kept = |share: &Share| {
            let same = |(old, _): &&(Share, Arc<Counts>)| {
                (old.to, &old.sni, &old.alpn) == (share.to, &share.sni, &share.alpn)
            };
            self.shares.iter().find(same).map(|(_, counts)| Arc::clone(counts)).unwrap_or_default()
        };
        let shares: Vec<_> = shares.iter().map(|share| (share.clone(), kept(share))).collect();
        let services = shares.iter().map(|(share, counts)| Service::new(share.clone(), Arc::clone(counts)));
        // The thread ends only with us.
        let _ = self.changes.send(services.collect());
        let _ = self.waker.wake();
        self.shares = shares;
    }

    /// The next connection of ours.
    pub(crate) fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        self.ours.try_recv().ok()
    }

    /// The services and their connections: now, since the start, and those that could not be passed on.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&Share, (usize, u64, u64))> {
        self.shares.iter().map(|(share, counts)| (share, counts.read()))
    }
}

impl Drop for SharedPort {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been told on stderr.
            let _ = thread.join();
        }
    }
}

/// Each connection that is passed on takes two descriptors; the usual soft limit is 1,024.
fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard), hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}
