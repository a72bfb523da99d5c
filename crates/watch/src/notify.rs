//! Word to systemd (sd_notify(3)): ready, what it does, reloading, stopping, and the watchdog's sign of life.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// Who is told. Without systemd nobody is.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What the environment says.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok();
        let Some(path) = variable("NOTIFY_SOCKET") else { return Self::default() };
        let to = address(&path).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A receiver that does not read is not waited for.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        match to {
            Ok(to) => {
                let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
                let interval = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|text| text.parse().ok());
                Self { to: Some(to), watchdog: interval.filter(|us| *us > 0).map(Duration::from_micros) }
            }
            Err(error) => {
                tracing::warn!(path, %error, "NOTIFY_SOCKET cannot be used");
                Self::default()
            }
        }
    }

    /// Within which time the watchdog wants a sign of life.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The appliance works.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// What it does now, in one line.
    pub fn status(&self, text: &str) {
        let line: String = text.chars().filter(|letter| !letter.is_control()).collect();
        self.send(&format!("STATUS={line}"));
    }

    /// The configuration is being read anew; `monotonic` is the time of CLOCK_MONOTONIC. [`Notifier::ready`] ends it.
    pub fn reloading(&self, monotonic: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic.as_micros()));
    }

    /// The appliance ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The watchdog's sign of life.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

/// A path, or a name of the abstract namespace behind an `@`.
fn address(path: &str) -> io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(Path::new(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives() {
        let name = format!("@causeway-notify-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&address(&name).expect("a name")).expect("free");
        let to = (UnixDatagram::unbound().expect("a socket"), address(&name).expect("a name"));
        let notifier = Notifier { to: Some(to), watchdog: None };
        let mut buffer = [0; 200];
        let mut told = |tell: &dyn Fn()| {
            tell();
            let n = receiver.recv(&mut buffer).expect("a datagram");
            String::from_utf8(buffer[..n].to_vec()).expect("text")
        };
        assert_eq!(told(&|| notifier.ready()), "READY=1");
        assert_eq!(told(&|| notifier.status("two\nlines")), "STATUS=twolines");
        assert_eq!(
            told(&|| notifier.reloading(Duration::from_millis(5))),
            "RELOADING=1\nMONOTONIC_USEC=5000"
        );
        assert_eq!(told(&|| notifier.alive()), "WATCHDOG=1");
        Notifier::default().ready();
    }
}
