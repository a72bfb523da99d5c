//! Asking a proxy for a connection: HTTP CONNECT (RFC 9110 9.3.6) with Basic authentication (RFC 7617).

use std::io::{ErrorKind, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use config::{HostPort, Proxy};
use zeroize::Zeroizing;

/// Most octets of an answer's head.
const MAX_HEAD: usize = 8192;

/// Most header fields of an answer.
const MAX_FIELDS: usize = 64;

/// A question to a proxy, and its answer as far as it has come.
pub(super) struct Connect {
    request: Zeroizing<Vec<u8>>,
    sent: usize,
    head: Vec<u8>,
    server: String,
    user: Option<String>,
}

impl Connect {
    /// Asks `proxy` for a connection with `server`.
    pub(super) fn new(proxy: &Proxy, server: &HostPort) -> Self {
        let server = server.to_string();
        let mut request = Zeroizing::new(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n"));
        if let Some((user, password)) = &proxy.credentials {
            let pair = Zeroizing::new(format!("{user}:{}", *password.0));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&Zeroizing::new(BASE64.encode(pair.as_bytes())));
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let user = proxy.credentials.as_ref().map(|(user, _)| user.clone());
        let request = Zeroizing::new(request.as_bytes().to_vec());
        Self { request, sent: 0, head: Vec::new(), server, user }
    }

    /// Whether the question is sent.
    pub(super) fn is_asked(&self) -> bool {
        self.sent == self.request.len()
    }

    /// Does what can be done now. True: the stream is connected with the server.
    pub(super) fn drive(&mut self, stream: &mut (impl Read + Write)) -> Result<bool, String> {
        while !self.is_asked() {
            match stream.write(&self.request[self.sent..]) {
                Ok(0) => return Err("the proxy takes nothing".into()),
                Ok(sent) => self.sent += sent,
                Err(error) if is_early(error.kind()) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("cannot connect to the proxy: {error}")),
            }
        }
        let mut chunk = [0; 1024];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Err("the proxy closed the connection without an answer".into()),
                Ok(count) => self.head.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("the connection to the proxy broke: {error}")),
            }
            if self.answered()? {
                return Ok(true);
            }
        }
    }

    /// Looks whether the answer is complete, and good.
    fn answered(&self) -> Result<bool, String> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer
            .parse(&self.head)
            .map_err(|error| format!("what the proxy answers is not HTTP ({error}): is it a proxy?"))?;
        let length = match parsed {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if self.head.len() > MAX_HEAD => {
                return Err(format!("the proxy's answer has more than {MAX_HEAD} octets of header"));
            }
            httparse::Status::Partial => return Ok(false),
        };
        match answer.code.unwrap_or(0) {
            // The server speaks second, so nothing can have come from it.
            200..=299 if length == self.head.len() => Ok(true),
            200..=299 => Err("the proxy sent more than its answer".into()),
            code => Err(self.refusal(code, &answer)),
        }
    }

    fn refusal(&self, code: u16, answer: &httparse::Response<'_, '_>) -> String {
        let reason = printable(answer.reason.unwrap_or("").as_bytes());
        let meaning = match (code, &self.user) {
            (407, None) => {
                "it wants a user and a password: set user and password_file in [client.proxy]".into()
            }
            // Some proxies answer 401, which is for servers.
            (401 | 407, Some(user)) => {
                let asked = answer
                    .headers
                    .iter()
                    .filter(|field| field.name.eq_ignore_ascii_case("proxy-authenticate"));
                let schemes: Vec<String> = asked
                    .map(|field| printable(field.value.split(|octet| *octet == b' ').next().unwrap_or(b"")))
                    .collect();
                if schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                    format!("user {user:?} or the password is wrong")
                } else {
                    format!("it wants {}, of which only Basic is spoken here", schemes.join(", "))
                }
            }
            (401 | 403, _) => format!("it does not allow connections to {}", self.server),
            (400 | 405 | 501, _) => "it does not do CONNECT".into(),
            (502..=504, _) => format!("it does not reach {}", self.server),
            _ => format!("it does not connect us with {}", self.server),
        };
        format!("the proxy answers {code} {reason}: {meaning}")
    }
}

/// Errors of a socket that is not connected yet.
fn is_early(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// What a stranger says, fit for a log.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use config::Password;
    use proptest::prelude::*;

    use super::*;

    /// A stream that takes everything, and gives what it has in pieces.
    struct Fake {
        took: Vec<u8>,
        gives: Vec<u8>,
        piece: usize,
    }

    impl Read for Fake {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.piece.min(self.gives.len()).min(out.len());
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            out[..count].copy_from_slice(&self.gives[..count]);
            self.gives.drain(..count);
            Ok(count)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.piece.min(bytes.len());
            self.took.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(user: Option<&str>, answer: &str, piece: usize) -> (Result<bool, String>, String) {
        let credentials = user.map(|user| (user.into(), Password(Zeroizing::new("open sesame".into()))));
        let proxy = Proxy { address: "proxy.example:3128".parse().expect("an address"), credentials };
        let mut connect = Connect::new(&proxy, &"[2001:db8::1]:443".parse().expect("an address"));
        let mut fake = Fake { took: Vec::new(), gives: answer.into(), piece };
        let done = connect.drive(&mut fake);
        (done, String::from_utf8(fake.took).expect("text"))
    }

    #[test]
    fn the_question_is_as_the_rfcs_want_it() {
        let (done, asked) = ask(Some("Aladdin"), "HTTP/1.1 200 Connection established\r\n\r\n", 7);
        assert_eq!(done, Ok(true));
        assert_eq!(
            asked,
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
        let (done, asked) = ask(None, "HTTP/1.0 200\r\nVia: x\r\n", 100);
        assert_eq!(done, Ok(false), "the head is not complete");
        assert!(!asked.contains("Authorization"));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let told = |user, answer: &str| ask(user, answer, 5).0.expect_err("refused");
        let told_407 = told(None, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        assert!(told_407.contains("password_file"), "{told_407}");
        let basic =
            "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\n\r\n";
        assert!(told(Some("u"), basic).contains("user \"u\" or the password is wrong"));
        let ntlm = "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate\r\n\r\n";
        assert!(told(Some("u"), ntlm).contains("NTLM, Negotiate"));
        assert!(told(None, "HTTP/1.1 403 Filtered\r\n\r\n").contains("does not allow"));
        assert!(
            told(None, "HTTP/1.1 502 \x1b[31m\r\n\r\n").contains("is not HTTP"),
            "nothing raw in the log"
        );
        assert!(told(None, "HTTP/1.1 503 Gone\r\n\r\n").contains("does not reach [2001:db8::1]:443"));
        assert!(told(None, "SSH-2.0-OpenSSH\r\n").contains("is it a proxy?"));
        assert!(told(None, "HTTP/1.1 200 OK\r\n\r\nmore").contains("more than its answer"));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(2 * MAX_HEAD));
        assert!(told(None, &endless).contains("more than 8192"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_proxy_says_panics(answer in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50usize) {
            let proxy = Proxy { address: "p:1".parse().expect("an address"), credentials: None };
            let mut connect = Connect::new(&proxy, &"s:443".parse().expect("an address"));
            let _ = connect.drive(&mut Fake { took: Vec::new(), gives: answer, piece });
        }
    }
}
