//! Chains, revocation lists, and clients that show certificates.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

use super::tests::{Folder, Pair};
use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A root, a CA below it, and certificates of that for a server and for clients, by their serial numbers.
struct World {
    folder: Folder,
    middle: Issuer,
}

fn authority(name: &str, issuer: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    match issuer {
        Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer),
        None => CertifiedIssuer::self_signed(params, key),
    }
    .expect("a CA")
}

impl World {
    fn new() -> Self {
        let folder = Folder::new();
        let root = authority("The root", None);
        let middle = authority("The middle", Some(&root));
        folder.file("root.pem", &root.pem());
        folder.file("middle.pem", &middle.pem());
        let world = Self { folder, middle };
        world.leaf("hub", 1, &["hub.example"], ExtendedKeyUsagePurpose::ServerAuth);
        world.leaf("branch", 2, &["branch"], ExtendedKeyUsagePurpose::ClientAuth);
        world.crl("none.crl", &[]);
        world
    }

    /// Writes NAME.key, NAME.pem without and NAME.chain with the certificate of the CA.
    fn leaf(&self, name: &str, serial: u64, names: &[&str], usage: ExtendedKeyUsagePurpose) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.middle).expect("a certificate").pem();
        self.folder.file(&format!("{name}.pem"), &pem);
        self.folder.file(&format!("{name}.chain"), &(pem + &self.middle.pem()));
        self.folder.file(&format!("{name}.key"), &key.serialize_pem());
    }

    fn crl(&self, file: &str, revoked: &[u64]) -> PathBuf {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2089, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.folder.file(file, &params.signed_by(&self.middle).expect("a list").pem().expect("PEM"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn root(&self, crl: Option<&str>) -> Authority {
        Authority { ca: self.path("root.pem"), crl: crl.map(|name| self.path(name)) }
    }

    fn server(&self, clients: Option<Authority>) -> ServerTls {
        ServerTls::from_files(&self.path("hub.chain"), &self.path("hub.key"), clients.as_ref())
            .expect("good files")
    }

    fn client(&self, crl: Option<&str>, own: Option<&str>) -> ClientTls {
        let own = own.map(|name| (self.path(&format!("{name}.chain")), self.path(&format!("{name}.key"))));
        let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        ClientTls::new(&Trust::Authority(self.root(crl)), own).expect("good files")
    }
}

#[test]
fn a_chain_without_the_ca_between_names_the_one_that_is_missing() {
    let world = World::new();
    Pair::handshake(&world.client(None, None), &world.server(None));
    let bare =
        ServerTls::from_files(&world.path("hub.pem"), &world.path("hub.key"), None).expect("good files");
    let (client, _) = Pair::failing(&world.client(None, None), "hub.example", &bare);
    assert!(client.contains("\"CN=The middle\", which issued that of \"CN=hub\""), "{client}");
}

#[test]
fn a_revoked_server_is_refused_and_so_is_one_that_no_list_covers() {
    let world = World::new();
    Pair::handshake(&world.client(Some("none.crl"), None), &world.server(None));
    world.crl("hub.crl", &[9, 1]);
    let (client, _) = Pair::failing(&world.client(Some("hub.crl"), None), "hub.example", &world.server(None));
    assert!(client.contains("the server's certificate is revoked"), "{client}");
    let other = World::new();
    other.crl("foreign.crl", &[]);
    let foreign = Authority { ca: world.path("root.pem"), crl: Some(other.path("foreign.crl")) };
    // The same name, another key: the list is not its CA's.
    let tls = ClientTls::new(&Trust::Authority(foreign), None).expect("good files");
    let (client, _) = Pair::failing(&tls, "hub.example", &world.server(None));
    assert!(client.contains("does not verify") || client.contains("revocation list"), "{client}");
}

#[test]
fn clients_show_certificates_that_the_server_verifies() {
    let world = World::new();
    let server = world.server(Some(world.root(Some("none.crl"))));
    let mut pair = Pair::new(&world.client(None, Some("branch")), "hub.example", &server);
    pair.until(|pair| pair.at_server.len() >= 2 && pair.at_client.len() >= 2);
    let TlsEvent::PeerCertificate(facts) = &pair.at_server[0] else { panic!("{:?}", pair.at_server) };
    assert_eq!(facts.carried_names(), ["branch", "branch"]);
    // Without one TLS goes on: whether the site needs it is known at its login.
    Pair::handshake(&world.client(None, None), &server);
    // A server without client_ca does not ask.
    Pair::handshake(&world.client(None, Some("branch")), &world.server(None));
}

#[test]
fn a_client_that_is_connected_is_verified_again_by_another_list() {
    let world = World::new();
    world.crl("branch.crl", &[2]);
    let lists = ["none.crl", "branch.crl"].map(|crl| world.server(Some(world.root(Some(crl)))));
    let [before, after] = lists;
    let mut pair = Pair::new(&world.client(None, Some("branch")), "hub.example", &before);
    pair.until(|pair| pair.at_server.len() >= 2);
    let chain = pair.server.peer_chain();
    assert_eq!(chain.len(), 2);
    assert_eq!(before.verify_client(&chain), Ok(()));
    assert_eq!(after.verify_client(&chain), Err("the client's certificate is revoked".into()));
    assert_eq!(world.server(None).verify_client(&chain), Ok(()), "nobody is asked for one");
    assert_ne!(before.client_trust(), after.client_trust());
    assert_eq!(before.client_trust(), world.server(Some(world.root(Some("none.crl")))).client_trust());
}

#[test]
fn a_server_that_was_found_good_is_verified_again_by_other_rules() {
    let world = World::new();
    world.crl("hub.crl", &[1]);
    let [before, after] = ["none.crl", "hub.crl"].map(|crl| world.client(Some(crl), None));
    let mut pair = Pair::new(&before, "hub.example", &world.server(None));
    pair.until(|pair| pair.at_client.len() >= 2);
    let chain = pair.client.peer_chain();
    assert_eq!(before.verify_server(&chain, "hub.example"), Ok(()));
    assert_eq!(after.verify_server(&chain, "hub.example"), Err("the server's certificate is revoked".into()));
    let told = before.verify_server(&chain, "other.example").expect_err("another name");
    assert!(told.contains("expected other.example, it is for"), "{told}");
    let pinned =
        |fingerprint| ClientTls::new(&Trust::Fingerprints(vec![fingerprint]), None).expect("nothing to read");
    let (right, wrong) = (pinned(fingerprint(&chain[0])), pinned([0; 32]));
    assert_eq!(right.verify_server(&chain, "hub.example"), Ok(()));
    let told = wrong.verify_server(&chain, "hub.example").expect_err("another fingerprint");
    assert!(told.contains("the server's certificate has another fingerprint"), "{told}");
    let words = [&before, &after, &world.client(None, None), &right, &wrong].map(ClientTls::trust);
    assert!((0..5).all(|at| !words[..at].contains(&words[at])), "each has a word of its own");
    assert_eq!(before.trust(), world.client(Some("none.crl"), None).trust());
}

#[test]
fn what_is_wrong_with_a_clients_certificate_stands_in_the_servers_log_only() {
    let world = World::new();
    world.crl("branch.crl", &[2]);
    let revoked = world.server(Some(world.root(Some("branch.crl"))));
    let mut pair = Pair::new(&world.client(None, Some("branch")), "hub.example", &revoked);
    pair.until(|pair| pair.closed());
    let (client, server) = pair.reasons();
    assert!(server.contains("the client's certificate is revoked"), "{server}");
    assert!(client.contains("refused our certificate") && client.contains("its log tells why"), "{client}");

    let stranger = World::new();
    let mut pair =
        Pair::new(&stranger_client(&world, &stranger), "hub.example", &world.server(Some(world.root(None))));
    pair.until(|pair| pair.closed());
    let (_, server) = pair.reasons();
    assert!(server.contains("the client's certificate"), "{server}");

    world.leaf("tool", 3, &["tool"], ExtendedKeyUsagePurpose::ServerAuth);
    let mut pair =
        Pair::new(&world.client(None, Some("tool")), "hub.example", &world.server(Some(world.root(None))));
    pair.until(|pair| pair.closed());
    let (_, server) = pair.reasons();
    assert!(server.contains("is not meant for TLS clients"), "{server}");
}

/// Trusts the one world's root, shows a certificate of the other.
fn stranger_client(trusts: &World, shows: &World) -> ClientTls {
    let own = (shows.path("branch.chain"), shows.path("branch.key"));
    ClientTls::new(&Trust::Authority(trusts.root(None)), Some((&own.0, &own.1))).expect("good files")
}

#[test]
fn verifying_says_what_the_other_end_would_say() {
    let world = World::new();
    let now = rustls_pki_types::UnixTime::now();
    let chain = pki::read_certificates(&world.path("hub.chain")).expect("good");
    assert_eq!(verify(&chain, &world.root(None), Some("hub.example"), now), Ok(()));
    let told = verify(&chain, &world.root(None), Some("other.example"), now).expect_err("another name");
    assert!(told.contains("expected other.example, it is for"), "{told}");
    let told = verify(&chain, &world.root(None), None, now).expect_err("no client");
    assert!(told.contains("not meant for TLS clients"), "{told}");
    let told = verify(&chain[..1], &world.root(None), Some("hub.example"), now).expect_err("incomplete");
    assert!(told.contains("chain is incomplete"), "{told}");
}
