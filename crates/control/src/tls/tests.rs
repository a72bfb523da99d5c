use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use super::*;

/// A folder of a test's own, gone when the test ends.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("causeway-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A CA and a server certificate from it, for `hub.example` and 127.0.0.1, valid from 2020 to `until`.
struct Pki {
    folder: Folder,
    server: ServerTls,
}

impl Pki {
    fn new() -> Self {
        Self::make("The CA", 2090)
    }

    fn until(year: i32) -> Self {
        Self::make("The CA", year)
    }

    fn make(ca_name: &str, year: i32) -> Self {
        let folder = Folder::new();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, ca_name);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        folder.file("ca.pem", &ca.pem());

        let names = vec!["hub.example".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &ca).expect("a certificate");
        let certificate = folder.file("server.pem", &certificate.pem());
        let key = folder.file("server.key", &key.serialize_pem());
        let server = ServerTls::from_files(&certificate, &key, None).expect("good files");
        Self { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn by_authority(&self) -> ClientTls {
        ClientTls::new(&self.trust(), None).expect("a good CA")
    }

    fn by_fingerprint(&self) -> ClientTls {
        let trust = Trust::Fingerprints(vec![[1; 32], self.server.fingerprint()]);
        ClientTls::new(&trust, None).expect("nothing to read")
    }

    fn trust(&self) -> Trust {
        Trust::Authority(self.authority(None))
    }

    fn authority(&self, crl: Option<PathBuf>) -> Authority {
        Authority { ca: self.path("ca.pem"), crl }
    }
}

/// Both ends of a TCP connection on the loopback.
fn tcp() -> (TcpStream, TcpStream) {
    let (client, server) = std_tcp();
    for stream in [&client, &server] {
        stream.set_nonblocking(true).expect("non-blocking");
    }
    (TcpStream::from_std(client), TcpStream::from_std(server))
}

fn std_tcp() -> (StdStream, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = StdStream::connect(listener.local_addr().expect("bound")).expect("listening");
    (client, listener.accept().expect("connected").0)
}

/// A client and a server, driven in turn, and what each saw.
pub(super) struct Pair {
    pub(super) client: TlsConn,
    pub(super) server: TlsConn,
    pub(super) at_client: Vec<TlsEvent>,
    pub(super) at_server: Vec<TlsEvent>,
}

impl Pair {
    pub(super) fn new(client: &ClientTls, name: &str, server: &ServerTls) -> Self {
        let (near, far) = tcp();
        Self {
            client: TlsConn::client(near, client, name).expect("a good name"),
            server: TlsConn::server(far, server),
            at_client: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// Drives both ends until `done`, which must be soon.
    pub(super) fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "client {:?}, server {:?}", self.at_client, self.at_server);
            self.client.drive(&mut self.at_client);
            self.server.drive(&mut self.at_server);
        }
    }

    pub(super) fn handshake(client: &ClientTls, server: &ServerTls) -> Self {
        let mut pair = Self::new(client, "hub.example", server);
        pair.until(|pair| pair.at_client.len() > 1 && !pair.at_server.is_empty());
        let expected = [TlsEvent::HandshakeDone { fingerprint: server.fingerprint() }];
        let TlsEvent::PeerCertificate(shown) = pair.at_client.remove(0) else {
            panic!("{:?}", pair.at_client)
        };
        assert_eq!(shown.fingerprint, server.fingerprint());
        assert_eq!(pair.at_client, expected);
        assert_eq!(pair.at_server, expected);
        pair.at_client.clear();
        pair.at_server.clear();
        pair
    }

    /// Whether both ends are closed.
    pub(super) fn closed(&self) -> bool {
        reason(&self.at_client).is_some() && reason(&self.at_server).is_some()
    }

    /// Why the client and the server closed.
    pub(super) fn reasons(&self) -> (String, String) {
        (reason(&self.at_client).expect("closed"), reason(&self.at_server).expect("closed"))
    }

    /// Runs a handshake that must fail; gives the client's and the server's reasons.
    pub(super) fn failing(client: &ClientTls, name: &str, server: &ServerTls) -> (String, String) {
        let mut pair = Self::new(client, name, server);
        pair.until(|pair| reason(&pair.at_client).is_some() && reason(&pair.at_server).is_some());
        let done = |event: &TlsEvent| matches!(event, TlsEvent::HandshakeDone { .. });
        assert!(!pair.at_server.iter().any(done), "{:?}", pair.at_server);
        (reason(&pair.at_client).expect("closed"), reason(&pair.at_server).expect("closed"))
    }
}

fn reason(events: &[TlsEvent]) -> Option<String> {
    match events.last() {
        Some(TlsEvent::Closed { reason }) => Some(reason.clone()),
        _ => None,
    }
}

fn data(events: &[TlsEvent]) -> Vec<u8> {
    let part = |event: &TlsEvent| match event {
        TlsEvent::Data(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    events.iter().flat_map(part).collect()
}

#[test]
fn both_ends_agree_on_fingerprint_data_and_exported_secrets() {
    let pki = Pki::new();
    for tls in [pki.by_authority(), pki.by_fingerprint()] {
        let mut pair = Pair::handshake(&tls, &pki.server);
        pair.client.send(b"hello").expect("open");
        pair.server.send(&[7; 60_000]).expect("open");
        pair.until(|pair| data(&pair.at_server) == b"hello" && data(&pair.at_client) == [7; 60_000]);

        let (mut ours, mut theirs, mut other) = ([0; 32], [0; 32], [0; 32]);
        let label = b"EXPORTER-Channel-Binding";
        pair.client.export_secret(label, Some(b""), &mut ours).expect("done");
        pair.server.export_secret(label, Some(b""), &mut theirs).expect("done");
        pair.server.export_secret(label, Some(b"x"), &mut other).expect("done");
        assert_eq!(ours, theirs);
        assert_ne!(ours, other);
    }
}

#[test]
fn a_pinned_fingerprint_takes_an_expired_certificate_but_no_other_one() {
    let expired = Pki::until(2021);
    let warnings = expired.server.material().warnings(crate::certificates::unix_now());
    assert!(warnings[0].contains("expired on 2021-01-01"), "{warnings:?}");
    Pair::handshake(&expired.by_fingerprint(), &expired.server);

    let other = Pki::new();
    assert!(other.server.material().warnings(crate::certificates::unix_now()).is_empty());
    let (client, server) = Pair::failing(&expired.by_fingerprint(), "hub.example", &other.server);
    assert!(client.contains(&fingerprint_text(&expired.server.fingerprint())), "{client}");
    assert!(client.contains(&fingerprint_text(&other.server.fingerprint())), "{client}");
    assert!(server.contains("refused our certificate"), "{server}");
}

#[test]
fn a_certificate_that_does_not_verify_is_refused_with_the_reason() {
    let pki = Pki::new();
    let (client, _) = Pair::failing(&pki.by_authority(), "spoke.example", &pki.server);
    assert!(client.contains("expected spoke.example") && client.contains("hub.example"), "{client}");

    let expired = Pki::until(2021);
    let (client, _) = Pair::failing(&expired.by_authority(), "hub.example", &expired.server);
    assert!(client.contains("expired since 2021-01-01T00:00:00Z"), "{client}");

    let (client, _) = Pair::failing(&pki.by_authority(), "hub.example", &Pki::new().server);
    assert!(client.contains("not made by the configured CA"), "{client}");

    let foreign = Pki::make("Another CA", 2090);
    let (client, server) = Pair::failing(&pki.by_authority(), "hub.example", &foreign.server);
    assert!(client.contains("\"CN=Another CA\"") && client.contains("nor in the CA file"), "{client}");
    assert!(server.contains("refused our certificate"), "{server}");
}

#[test]
fn a_client_without_our_alpn_gets_the_alert_and_no_session() {
    let pki = Pki::new();
    for (offered, wanted) in
        [(vec![], "sent no ALPN"), (vec![b"h2".to_vec()], "no ALPN protocol that we speak")]
    {
        let mut tls = pki.by_authority();
        Arc::make_mut(&mut tls.config).alpn_protocols = offered;
        let (client, server) = Pair::failing(&tls, "hub.example", &pki.server);
        assert!(server.contains(wanted), "{server}");
        assert!(client.contains("does not speak causeway/1"), "{client}");
    }
}

#[test]
fn a_server_without_our_alpn_is_no_causeway_server() {
    let mut pki = Pki::new();
    Arc::make_mut(&mut pki.server.config).alpn_protocols.clear();
    let mut pair = Pair::new(&pki.by_authority(), "hub.example", &pki.server);
    pair.until(|pair| reason(&pair.at_client).is_some());
    let told = reason(&pair.at_client).expect("closed");
    assert!(told.contains("no Causeway server"), "{told}");
    assert_eq!(pair.at_client.len(), 1, "no handshake was announced");
}

#[test]
fn garbage_gets_a_reason_and_nothing_else() {
    let pki = Pki::new();
    let oversize = [&[22, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
    let endless =
        [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff].iter().copied().chain([0; 20_000]).collect::<Vec<u8>>();
    for (bytes, wanted) in [
        (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n".to_vec(), "not TLS"),
        (vec![0; 100_000], "not TLS"),
        (oversize, "not TLS"),
        (endless, "TLS"),
        (vec![22, 3, 1], "closed the connection before"),
        (Vec::new(), "closed the connection before"),
    ] {
        let (mut client, server) = std_tcp();
        server.set_nonblocking(true).expect("non-blocking");
        let mut server = TlsConn::server(TcpStream::from_std(server), &pki.server);
        let writer = std::thread::spawn(move || {
            // The server may have closed in the middle of it.
            let _ = client.write_all(&bytes).and_then(|()| client.shutdown(Shutdown::Write));
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer);
            answer
        });
        let mut events = Vec::new();
        while reason(&events).is_none() {
            server.drive(&mut events);
        }
        drop(server);
        let told = reason(&events).expect("closed");
        assert!(told.contains(wanted), "{told}");
        assert_eq!(events.len(), 1);
        let answer = writer.join().expect("no panic");
        assert!(answer.len() <= 7, "at most an alert, not {answer:?}");
    }
}

#[test]
fn what_is_sent_before_closing_arrives_and_then_both_are_closed() {
    let pki = Pki::new();
    let mut pair = Pair::handshake(&pki.by_fingerprint(), &pki.server);
    // The server's last words must arrive although it has unread data.
    pair.client.send(b"still talking").expect("open");
    pair.server.send(b"refused").expect("open");
    pair.server.close();
    assert_eq!(pair.server.send(b"more"), Err(SendError::NotOpen));
    pair.until(|pair| reason(&pair.at_client).is_some());
    assert_eq!(data(&pair.at_client), b"refused");
    assert!(reason(&pair.at_client).expect("closed").contains("closed the TLS connection"));
    pair.until(|pair| reason(&pair.at_server).is_some());
    assert_eq!(reason(&pair.at_server).expect("closed"), "closed");
}

#[test]
fn a_peer_that_does_not_read_is_noticed() {
    let pki = Pki::new();
    let mut pair = Pair::handshake(&pki.by_fingerprint(), &pki.server);
    let mut sent = 0_usize;
    let full = loop {
        match pair.server.send(&[1; 60_000]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        // The kernel's own buffers take some megabytes.
        assert!(sent < 10_000);
    };
    assert_eq!(full, SendError::PeerTooSlow);
}

#[test]
fn a_connection_that_is_refused_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let pki = Pki::new();
    let stream = TcpStream::connect(port).expect("a socket");
    let mut client = TlsConn::client(stream, &pki.by_fingerprint(), "hub.example").expect("a good name");
    let mut events = Vec::new();
    while events.is_empty() {
        client.drive(&mut events);
    }
    let told = reason(&events).expect("closed");
    assert!(told.contains("cannot connect") && told.contains("refused"), "{told}");
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_fault() {
    let pki = Pki::new();
    let (certificate, key) = (pki.path("server.pem"), pki.path("server.key"));
    let told = |certificate: &Path, key: &Path| {
        ServerTls::from_files(certificate, key, None).map(drop).expect_err("a bad file").to_string()
    };
    let absent = pki.path("absent.pem");
    assert!(told(&absent, &key).contains("cannot read") && told(&absent, &key).contains("absent.pem"));
    assert!(told(&key, &key).contains("it holds a private key, not a certificate"));
    assert!(told(&certificate, &certificate).contains("it holds a certificate, not a private key"));
    let other = pki.folder.file("other.key", &KeyPair::generate().expect("a key").serialize_pem());
    assert!(told(&certificate, &other).contains("does not belong to the certificate"));
    let cut = fs::read_to_string(&certificate).expect("readable").replace("-----END CERTIFICATE-----", "");
    let cut = pki.folder.file("cut.pem", &cut);
    assert!(told(&cut, &key).contains("cut.pem is not good PEM"), "{}", told(&cut, &key));
    let junk = pki.folder.file("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(told(&junk, &key).contains("cannot be used"), "{}", told(&junk, &key));
    let error = ClientTls::new(&Trust::Authority(Authority { ca: junk, crl: None }), None)
        .map(drop)
        .expect_err("a bad CA")
        .to_string();
    assert!(error.contains("CA certificate cannot be used"), "{error}");
}
