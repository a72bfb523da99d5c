//! Whose a connection is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use config::Share;

use super::hello::Hello;
use crate::strangers::Seldom;
use crate::tls;

/// A service that connections are passed on to.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) share: Share,
    pub(super) counts: Arc<Counts>,
    /// Says when a connection that could not be passed on is to be told of.
    pub(super) said: Seldom<Instant>,
}

/// Connections of a service.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    open: AtomicUsize,
    all: AtomicU64,
    failed: AtomicU64,
}

/// One place among the connections of a service; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Counts>);

impl Service {
    pub(super) fn new(share: Share, counts: Arc<Counts>) -> Self {
        Self { share, counts, said: Seldom::default() }
    }

    /// Whether a connection is for this service.
    fn fits(&self, hello: &Hello) -> bool {
        let sni = self.share.sni.as_deref().is_none_or(|wanted| {
            let found = hello.sni.as_deref().unwrap_or("");
            match wanted.strip_prefix("*.") {
                None => found == wanted,
                Some(parent) => {
                    found.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
                }
            }
        });
        let offers = |wanted: &String| hello.alpn.iter().any(|found| found == wanted.as_bytes());
        sni && self.share.alpn.as_ref().is_none_or(offers)
    }

    /// A place for one more connection.
    pub(super) fn place(&self) -> Option<Place> {
        let counts = &self.counts;
        // One thread takes places, so that none is taken in between.
        if counts.open.load(Ordering::Relaxed) >= self.share.max_connections {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counts.open.fetch_add(1, Ordering::Relaxed);
        counts.all.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(counts)))
    }
}

impl Counts {
    /// Connections now, since the start, and those that could not be passed on.
    pub(crate) fn read(&self) -> (usize, u64, u64) {
        let (all, failed) = (self.all.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        (self.open.load(Ordering::Relaxed), all, failed)
    }
}

impl Place {
    /// The connection could not be passed on.
    pub(super) fn failed(&self) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is one of these.
    pub(super) fn is_of(&self, service: &Service) -> bool {
        Arc::ptr_eq(&self.0, &service.counts)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The service that a connection is for; `None`: it is ours, if only to be refused.
pub(super) fn choose(services: &[Service], hello: &Hello) -> Option<usize> {
    if hello.alpn.iter().any(|name| name == tls::ALPN) {
        return None;
    }
    services.iter().position(|service| service.fits(hello))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn service(sni: Option<&str>, alpn: Option<&str>) -> Service {
        let share = Share {
            sni: sni.map(str::to_owned),
            alpn: alpn.map(str::to_owned),
            to: "127.0.0.1:8443".parse().expect("an address"),
            proxy_protocol: None,
            max_connections: 1,
            idle: Duration::from_secs(1),
        };
        Service::new(share, Arc::default())
    }

    fn hello(sni: &str, alpn: &[&str]) -> Hello {
        let sni = (!sni.is_empty()).then(|| sni.to_owned());
        Hello { sni, alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn the_first_that_fits_gets_it_and_our_own_stay() {
        let services = [
            service(Some("www.example.com"), None),
            service(Some("*.example.org"), Some("h2")),
            service(None, Some("acme-tls/1")),
        ];
        let choose = |sni, alpn: &[&str]| choose(&services, &hello(sni, alpn));
        assert_eq!(choose("www.example.com", &[]), Some(0));
        assert_eq!(choose("www.example.com", &["causeway/1"]), None, "ours, whatever its name");
        assert_eq!(choose("a.example.org", &["http/1.1", "h2"]), Some(1));
        assert_eq!(choose("a.example.org", &["http/1.1"]), None, "both have to fit");
        for other in ["example.org", ".example.org", "a.b.example.org", "", "xexample.org"] {
            assert_eq!(choose(other, &["h2"]), None, "{other}");
        }
        assert_eq!(choose("", &["acme-tls/1"]), Some(2));
        let all = [service(None, None)];
        assert_eq!(super::choose(&all, &hello("", &[])), Some(0));
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let service = service(None, None);
        let place = service.place().expect("the first");
        assert!(service.place().is_none(), "there is one");
        drop(place);
        assert!(service.place().is_some());
        assert_eq!(service.counts.read(), (0, 2, 1));
    }
}
