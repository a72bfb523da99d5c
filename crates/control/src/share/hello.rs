//! What a TLS ClientHello asks for: server name (RFC 6066 3) and protocols (RFC 7301 3.1). Only to choose where a connection
//! goes, so old versions of TLS are read as well as ours.

/// Most octets of a ClientHello with its record headers. Those with post-quantum keys have about 2,000.
pub(super) const MAX_HELLO: usize = 16 * 1024;

const RECORD_HEADER: usize = 5;
const MAX_FRAGMENT: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The server's name in lower case.
    pub(super) sni: Option<String>,
    /// The protocols that it offers.
    pub(super) alpn: Vec<Vec<u8>>,
}

/// The first octets of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// More have to come.
    Incomplete,
    /// No ClientHello, or one that is too long.
    Other,
    /// A ClientHello.
    Hello(Hello),
}

/// Reads the first octets of a connection.
pub(super) fn read(bytes: &[u8]) -> First {
    let mut message = Vec::new();
    let mut records = bytes;
    loop {
        match records.first() {
            None => break,
            Some(&HANDSHAKE) => {}
            Some(_) => return First::Other,
        }
        let Some(header) = records.first_chunk::<RECORD_HEADER>() else { break };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[1] != 3 || !(1..=MAX_FRAGMENT).contains(&length) {
            return First::Other;
        }
        let rest = &records[RECORD_HEADER..];
        let (fragment, next) = rest.split_at(length.min(rest.len()));
        message.extend_from_slice(fragment);
        records = next;
        match body(&message) {
            First::Incomplete => {}
            done => return done,
        }
    }
    if bytes.len() < MAX_HELLO { First::Incomplete } else { First::Other }
}

/// Reads a handshake message as far as it has come.
fn body(message: &[u8]) -> First {
    let Some(header) = message.first_chunk::<4>() else {
        return if message.first().is_none_or(|kind| *kind == CLIENT_HELLO) {
            First::Incomplete
        } else {
            First::Other
        };
    };
    let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
    if header[0] != CLIENT_HELLO || length > MAX_HELLO {
        return First::Other;
    }
    match message.get(4..4 + length) {
        None => First::Incomplete,
        Some(body) => client_hello(&mut Reader(body)).map_or(First::Other, First::Hello),
    }
}

fn client_hello(r: &mut Reader<'_>) -> Option<Hello> {
    r.take(2 + 32)?; // version, random
    r.short_list()?; // session ID
    r.list()?; // cipher suites
    r.short_list()?; // compression methods
    let mut hello = Hello::default();
    if r.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(r.list()?);
    while !extensions.0.is_empty() {
        let (kind, mut value) = (extensions.u16()?, Reader(extensions.list()?));
        match kind {
            SERVER_NAME => {
                let mut names = Reader(value.list()?);
                let (kind, name) = (names.take(1)?[0], names.list()?);
                let text = std::str::from_utf8(name).ok().filter(|name| name.is_ascii() && kind == 0);
                hello.sni = text.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
            }
            ALPN => {
                let mut names = Reader(value.list()?);
                while !names.0.is_empty() {
                    hello.alpn.push(names.short_list()?.to_vec());
                }
            }
            _ => {}
        }
    }
    r.0.is_empty().then_some(hello)
}

/// Takes what it is asked for off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Octets with a length of two octets in front.
    fn list(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Octets with a length of one octet in front.
    fn short_list(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What rustls sends first.
    fn hello(name: &'static str, alpn: &[&str]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = name.try_into().expect("a good name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        bytes
    }

    fn expected(sni: Option<&str>, alpn: &[&str]) -> First {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        First::Hello(Hello { sni: sni.map(str::to_owned), alpn })
    }

    #[test]
    fn names_and_protocols_are_found() {
        let bytes = hello("WWW.example.com", &["h2", "http/1.1"]);
        assert_eq!(read(&bytes), expected(Some("www.example.com"), &["h2", "http/1.1"]));
        assert_eq!(read(&hello("192.0.2.1", &[])), expected(None, &[]), "an address is no server name");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), First::Incomplete, "{end} octets");
        }
    }

    #[test]
    fn a_message_in_many_records_is_read_too() {
        let bytes = hello("a.example", &["causeway/1"]);
        let mut cut = Vec::new();
        for fragment in bytes[RECORD_HEADER..].chunks(7) {
            cut.extend([HANDSHAKE, 3, 1, 0, fragment.len() as u8]);
            cut.extend(fragment);
        }
        assert_eq!(read(&cut), expected(Some("a.example"), &["causeway/1"]));
    }

    #[test]
    fn what_is_no_hello_is_known_by_its_first_octets() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-x",
            &[22, 2, 0, 0, 9],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        ] {
            let other = (1..=bytes.len()).any(|end| read(&bytes[..end]) == First::Other);
            assert!(other, "{bytes:02x?}");
        }
        // A length of 16 MB, and records without end.
        assert_eq!(read(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]), First::Other);
        let endless: Vec<u8> = [22, 3, 1, 0, 1, 1].iter().copied().cycle().take(MAX_HELLO).collect();
        assert_eq!(read(&endless), First::Other);
    }

    proptest! {
        #[test]
        fn changed_hellos_do_not_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut bytes = hello("a.example", &["h2"]);
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = read(&bytes);
        }

        #[test]
        fn random_octets_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[&[22, 3, 1, 0, 100, 1, 0, 0, 90][..], &bytes].concat());
            let _ = read(&bytes);
        }
    }
}
