//! Passwords of console users: checked on a thread of their own, since that is slow by design, and not more often than people type.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use session::{Now, network};
use zeroize::Zeroizing;

/// Passwords that wait to be checked.
const QUEUE: usize = 8;

/// Wrong passwords from one address after which it has to wait, and how long: twice as long each time, up to a bound.
const FAILURES: u32 = 5;
const LOCK: Duration = Duration::from_secs(30);
const MAX_LOCK: Duration = Duration::from_secs(15 * 60);

/// How long a wrong password is remembered.
const MEMORY: Duration = Duration::from_secs(3600);

/// Addresses that are remembered.
const MAX_SOURCES: usize = 1024;

/// How long a wrong password is answered late.
pub(crate) const DELAY: Duration = Duration::from_secs(1);

/// Checked for a name that nobody has, so that the time does not tell.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$5Y2YN4wJVMGYGFDPLTR5vPXRfJYQ7bYkpUWb7HHrNmE";

/// The thread, and who has to wait.
#[derive(Debug)]
pub(crate) struct Logins {
    jobs: Sender<Job>,
    results: Receiver<(usize, bool)>,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Job {
    console: usize,
    hash: Option<String>,
    password: Zeroizing<String>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    failures: u32,
    last: Now,
    locked_until: Now,
}

impl Logins {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, work) = bounded::<Job>(QUEUE);
        let (done, results) = bounded(4 * QUEUE);
        std::thread::Builder::new().name("console-login".into()).spawn(move || {
            for job in work {
                let good = verify(job.hash.as_deref(), &job.password);
                if done.send((job.console, good)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, results, sources: HashMap::new() })
    }

    /// Has a password checked against a hash, or against nothing for a user that there is not. An error is for the user.
    pub(crate) fn check(
        &mut self,
        now: Now,
        console: usize,
        from: IpAddr,
        hash: Option<String>,
        password: Zeroizing<String>,
    ) -> Result<(), String> {
        if let Some(source) = self.sources.get(&network(from)).filter(|source| now < source.locked_until) {
            let wait = source.locked_until.saturating_sub(now).as_secs() + 1;
            return Err(format!("too many wrong passwords from your address: wait {wait} s"));
        }
        self.jobs.try_send(Job { console, hash, password }).map_err(|error| match error {
            TrySendError::Full(_) => "too many log in at this moment: try again".into(),
            TrySendError::Disconnected(_) => "nobody can log in: the checking thread has ended".into(),
        })
    }

    /// What was found out: which console, and whether the password was right.
    pub(crate) fn results(&self) -> Vec<(usize, bool)> {
        self.results.try_iter().collect()
    }

    /// Notes a right or a wrong password.
    pub(crate) fn note(&mut self, now: Now, from: IpAddr, good: bool) {
        let from = network(from);
        if good {
            self.sources.remove(&from);
            return;
        }
        self.sources.retain(|_, source| now < (source.last + MEMORY).max(source.locked_until));
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&from) {
            let oldest = self.sources.iter().min_by_key(|(_, source)| source.last).map(|(from, _)| *from);
            oldest.map(|from| self.sources.remove(&from));
        }
        let source =
            self.sources.entry(from).or_insert(Source { failures: 0, last: now, locked_until: Now::ZERO });
        source.failures += 1;
        source.last = now;
        if source.failures >= FAILURES {
            let doubled = LOCK.saturating_mul(1 << (source.failures - FAILURES).min(10));
            source.locked_until = now + doubled.min(MAX_LOCK);
            tracing::warn!(%from, failures = source.failures, "wrong console passwords: the address has to wait");
        }
    }
}

fn verify(hash: Option<&str>, password: &str) -> bool {
    let matches = |text: &str| {
        let hash = PasswordHash::new(text);
        hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    };
    match hash {
        Some(hash) => matches(hash),
        None => {
            matches(NOBODY);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `causeway passwd --console` made it of "secret".
    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$yz0B3yIImtnYFpqFAREFwA$vwd4Wix1zq88Z76YFKWBoh9Rcpy6xM/c2DwxedcoP/M";

    fn wait(logins: &Logins) -> (usize, bool) {
        logins.results.recv_timeout(Duration::from_secs(60)).expect("a result")
    }

    #[test]
    fn passwords_are_right_or_wrong_and_nobody_has_one() {
        let mut logins = Logins::start().expect("starts");
        let from = IpAddr::from([192, 0, 2, 1]);
        for (hash, password, right) in
            [(Some(HASH), "secret", true), (Some(HASH), "Secret", false), (None, "secret", false)]
        {
            let hash = hash.map(str::to_owned);
            logins.check(Now::ZERO, 7, from, hash, Zeroizing::new(password.into())).expect("queued");
            assert_eq!(wait(&logins), (7, right), "{password}");
        }
        assert!(PasswordHash::new(NOBODY).is_ok());
    }

    #[test]
    fn wrong_passwords_at_speed_are_bounded_and_lock_one_address_for_a_while() {
        let mut logins = Logins::start().expect("starts");
        let (from, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut now = Now::from_secs(1);
        let check =
            |logins: &mut Logins, now, from| logins.check(now, 0, from, None, Zeroizing::new("x".into()));
        let refused = (0..100).filter(|_| check(&mut logins, now, from).is_err()).count();
        assert!(refused > 100 - 4 * QUEUE, "the queue is bounded: {refused} were refused");
        for _ in 0..FAILURES {
            logins.note(now, from, false);
        }
        assert!(check(&mut logins, now, from).unwrap_err().contains("wait 31 s"));
        while check(&mut logins, now, other).is_err() {
            wait(&logins);
        }
        now += LOCK;
        while check(&mut logins, now, from).is_err_and(|error| !error.contains("wrong")) {
            wait(&logins);
        }
        logins.note(now, from, false);
        assert!(
            check(&mut logins, now + LOCK, from).unwrap_err().contains("too many wrong"),
            "twice as long"
        );
        for host in 0..5000_u32 {
            logins.note(now, IpAddr::from(host.to_be_bytes()), false);
        }
        assert!(logins.sources.len() <= MAX_SOURCES);
        assert_eq!(
            network("2001:db8::1".parse().expect("good")),
            network("2001:db8::2".parse().expect("good"))
        );
    }
}
