use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use config::{Password, Proxy};
use mio::{Events, Poll};
use rcgen::{CertificateParams, KeyPair};
use zeroize::Zeroizing;

use super::*;
use crate::tls::{ServerTls, Trust};

const LIMIT: Duration = Duration::from_secs(1);

/// A port where nobody listens: it was free a moment ago.
fn closed_port() -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    at(&listener)
}

fn at(listener: &TcpListener) -> HostPort {
    listener.local_addr().expect("bound").to_string().parse().expect("an address")
}

fn server_tls() -> ServerTls {
    let params = CertificateParams::new(vec!["hub.example".to_owned()]).expect("a good name");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let name = format!("causeway-dial-{}-{:?}", std::process::id(), thread::current().id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let (crt, pem) = (folder.join("a.crt"), folder.join("a.key"));
    fs::write(&crt, certificate.pem()).expect("written");
    fs::write(&pem, key.serialize_pem()).expect("written");
    let tls = ServerTls::from_files(&crt, &pem, None).expect("good files");
    fs::remove_dir_all(&folder).expect("removed");
    tls
}

/// Answers every connection with TLS until the test's process ends.
fn serve(listener: TcpListener, tls: ServerTls) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tls) = (stream.expect("accepted"), tls.clone());
            thread::spawn(move || serve_one(stream, &tls));
        }
    });
}

fn serve_one(stream: TcpStream, tls: &ServerTls) {
    stream.set_nonblocking(true).expect("non-blocking");
    let mut conn = TlsConn::server(mio::net::TcpStream::from_std(stream), tls);
    let mut events = Vec::new();
    while !events.iter().any(|event| matches!(event, TlsEvent::Closed { .. })) {
        conn.drive(&mut events);
        thread::sleep(Duration::from_millis(1));
    }
}

struct World {
    dialer: Dialer,
    poll: Poll,
    began: Instant,
    next: u64,
}

impl World {
    fn new(addresses: Vec<HostPort>, proxy: Option<Proxy>, tls: &ServerTls) -> Self {
        let server_name = Some("hub.example".into());
        let servers = Servers { addresses, server_name, connect_timeout: LIMIT, proxy };
        let tls =
            ClientTls::new(&Trust::Fingerprints(vec![tls.fingerprint()]), None).expect("nothing to read");
        Self {
            dialer: Dialer::new(servers, tls),
            poll: Poll::new().expect("a poll"),
            began: Instant::now(),
            next: 0,
        }
    }

    /// Dials, and waits for how it ends.
    fn dial(&mut self, redirect: Option<&str>) -> (ConnId, Dialed) {
        let id = ConnId(self.next);
        self.next += 1;
        if let Err(reason) = self.dialer.dial(id, redirect.map(str::to_owned), None, self.began.elapsed()) {
            return (id, Dialed::Failed(reason));
        }
        let mut events = Events::with_capacity(8);
        loop {
            assert!(self.began.elapsed() < Duration::from_secs(60), "no end");
            self.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
            let now = self.began.elapsed();
            let registry = self.poll.registry();
            let driven = events.iter().find_map(|_| self.dialer.drive(id, registry, now));
            if let Some(dialed) = driven {
                return (id, dialed);
            }
            if let Some((_, dialed)) = self.dialer.tick(registry, now).pop() {
                return (id, dialed);
            }
        }
    }

    fn fails(&mut self, redirect: Option<&str>) -> String {
        match self.dial(redirect).1 {
            Dialed::Failed(reason) => reason,
            Dialed::Up(..) => panic!("it is up"),
        }
    }

    /// Dials, and tells where the connection went.
    fn goes_to(&mut self) -> (ConnId, HostPort) {
        match self.dial(None) {
            (id, Dialed::Up(..)) => (id, self.dialer.logging_in[&id].server.clone()),
            (_, Dialed::Failed(reason)) => panic!("{reason}"),
        }
    }
}

#[test]
fn addresses_are_tried_in_order_and_the_one_that_worked_comes_first() {
    let tls = server_tls();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let good = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (refused, silent_at, good_at) = (closed_port(), at(&silent), at(&good));
    serve(good, tls.clone());
    let mut world = World::new(vec![refused, silent_at.clone(), good_at.clone()], None, &tls);
    let (id, went) = world.goes_to();
    assert_eq!(went, good_at, "past one that refuses and one that says nothing");
    world.dialer.logged_in(id, Vec::new());
    let began = Instant::now();
    let (id, went) = world.goes_to();
    assert_eq!(went, good_at);
    assert!(began.elapsed() < LIMIT, "the others were not tried");
    world.dialer.logged_in(id, Vec::new());
    // Now the second one speaks, too; the one that worked stays.
    serve(silent, tls.clone());
    let (id, went) = world.goes_to();
    assert_eq!(went, good_at);
    // Until a login there fails.
    world.dialer.ended(id);
    let (id, went) = world.goes_to();
    assert_eq!(went, silent_at);
    world.dialer.ended(id);
    assert_eq!(world.goes_to().1, good_at, "the one that failed longest ago");
}

#[test]
fn failures_name_each_address() {
    let tls = server_tls();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (refused, silent_at) = (closed_port(), at(&silent));
    let nowhere = HostPort { host: "nowhere.invalid".into(), port: 443 };
    let mut world = World::new(vec![refused.clone(), silent_at.clone(), nowhere], None, &tls);
    let told = world.fails(None);
    assert!(told.contains(&format!("{refused}: cannot connect: ")), "{told}");
    assert!(told.contains(&format!("{silent_at}: no answer within 1s")), "{told}");
    assert!(told.contains("nowhere.invalid"), "{told}");
    let told = world.fails(Some("not an address"));
    assert!(told.contains("sends us to \"not an address\""), "{told}");
    let told = world.fails(Some(&refused.to_string()));
    assert!(told.starts_with(&refused.to_string()), "{told}");
}

#[test]
fn a_proxy_connects_us_and_tells_when_it_does_not() {
    let tls = server_tls();
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let credentials = Some(("u".into(), Password(Zeroizing::new("p".into()))));
    let settings = Proxy { address: at(&proxy), credentials };
    let good = HostPort { host: "hub.invalid".into(), port: 443 };
    let other = HostPort { host: "192.0.2.9".into(), port: 443 };
    let of_proxy = tls.clone();
    thread::spawn(move || {
        for stream in proxy.incoming() {
            let mut stream = stream.expect("accepted");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut octet = [0];
                stream.read_exact(&mut octet).expect("a head");
                head.push(octet[0]);
            }
            let head = String::from_utf8(head).expect("text");
            assert!(head.contains("Proxy-Authorization: Basic dTpw\r\n"), "{head}");
            if head.starts_with("CONNECT hub.invalid:443 ") {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
                let tls = of_proxy.clone();
                thread::spawn(move || serve_one(stream, &tls));
            } else {
                stream.write_all(b"HTTP/1.1 403 Filtered\r\n\r\n").expect("sent");
            }
        }
    });
    let mut world = World::new(vec![other.clone(), good.clone()], Some(settings), &tls);
    assert_eq!(world.goes_to().1, good, "past one that the proxy refuses");
    world.dialer.servers.addresses = vec![other];
    let told = world.fails(None);
    assert!(told.contains("192.0.2.9:443 through the proxy 127.0.0.1:"), "{told}");
    assert!(told.contains("403 Filtered: it does not allow"), "{told}");
}
