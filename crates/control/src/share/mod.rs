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
use std::os::fd::AsFd;
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
use crate::strangers::{Reason, Refused};

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
    /// Starts a thread that will accept the connections of `listener`, from the first [`SharedPort::change`] on. Until then the
    /// listener is whose it was, and if this is dropped, it stays so. `wakes` is woken when there is a connection of ours.
    pub(crate) fn prepare(
        listener: &TcpListener,
        wakes: Arc<Waker>,
        refused: Arc<Refused>,
    ) -> io::Result<Self> {
        allow_many_files();
        let listener = TcpListener::from_std(listener.as_fd().try_clone_to_owned()?.into());
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), door::WAKER)?);
        let (tell, ours) = bounded(WAITING);
        let (changes, changed) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let counted = Arc::clone(&refused);
        let door = Door::new(poll, listener, changed, Arc::clone(&stop), refused, move |stream, peer| {
            // A control thread that is so far behind has no use for more; the client tries again.
            if tell.try_send((stream, peer)).is_err() {
                counted.count(Reason::HandOver);
            }
            if let Err(error) = wakes.wake() {
                tracing::warn!(%error, "cannot wake the control thread");
            }
        })?;
        let thread = Builder::new().name("shared-port".into()).spawn(move || {
            // It reads what strangers send, and has the control thread's rights if a reload starts it.
            match confine::give_up_capabilities_of_this_thread() {
                Ok(()) => door.run(),
                Err(error) => tracing::error!(%error, "the shared port does not work"),
            }
        })?;
        Ok(Self { ours, changes, waker, stop, thread: Some(thread), shares: Vec::new() })
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
        // It may wait for the first change.
        let _ = self.changes.send(Vec::new());
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    use super::*;

    /// Accepts a connection that is on its way.
    fn accepted<T>(accept: impl Fn() -> Option<T>) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if accept().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[test]
    fn a_listener_changes_hands_when_it_is_told_to_and_not_before() {
        let poll = Poll::new().expect("a queue");
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let listener = TcpListener::bind("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let at = listener.local_addr().expect("an address");
        let connect = || std::net::TcpStream::connect(at).expect("connected");
        let own = || match listener.accept() {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                None
            }
        };
        // Something else of a change fails.
        let unused = SharedPort::prepare(&listener, Arc::clone(&waker), Arc::default()).expect("a thread");
        let first = connect();
        drop(unused);
        assert!(accepted(own), "the port is still open, and nobody else has taken from it");
        let second = connect();
        assert!(accepted(own));

        let mut shared = SharedPort::prepare(&listener, waker, Arc::default()).expect("a thread");
        shared.change(&[]);
        // No TLS, so that it is ours.
        let mut third = connect();
        io::Write::write_all(&mut third, b"GET /").expect("sent");
        assert!(accepted(|| shared.accept()));
        drop((first, second));
    }
}
