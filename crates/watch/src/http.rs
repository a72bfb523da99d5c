//! As much of HTTP/1.1 (RFC 9112) as a scraper and a browser need: one GET or HEAD for each connection.

use std::net::IpAddr;

/// Longest request, header fields and all.
pub(crate) const MAX_REQUEST: usize = 8192;

/// Most header fields.
const MAX_FIELDS: usize = 64;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Without a body in the answer.
    pub(crate) head: bool,
    pub(crate) host: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

/// What came of reading.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// More has to come.
    Partial,
    /// No request that we answer: the reason why.
    Bad(Response),
    /// A whole request.
    Request(Request),
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST => Parsed::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Parsed::Bad(Response::text(431, "the request is too long"))
        }
        Err(_) => Parsed::Bad(Response::text(400, "this is not HTTP")),
        Ok(httparse::Status::Complete(_)) => {
            let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
            if !matches!(method, "GET" | "HEAD") {
                return Parsed::Bad(Response::text(405, "only GET and HEAD: nothing can be changed here"));
            }
            let path = target.split(['?', '#']).next().unwrap_or_default();
            let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
            let host = host.and_then(|field| std::str::from_utf8(field.value).ok());
            Parsed::Request(Request {
                path: path.to_owned(),
                head: method == "HEAD",
                host: host.map(|host| host.trim().to_owned()),
            })
        }
    }
}

impl Request {
    /// Whether it was addressed to this machine by an address or a name that only this machine has. A page that was loaded from
    /// elsewhere can point its own name at a loopback address (DNS rebinding) and would then read ours.
    pub(crate) fn is_for_loopback(&self) -> bool {
        let Some(host) = &self.host else { return true }; // HTTP/1.0: no browser
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    }
}

impl Response {
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: format!("{text}\n").into_bytes() }
    }

    /// The octets to send.
    pub(crate) fn encode(&self, head: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut out = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nContent-Security-Policy: default-src 'none'; \
             style-src 'self'; img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'\r\n\r\n",
            self.status,
            self.kind,
            self.body.len()
        )
        .into_bytes();
        if !head {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request) => request,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Parsed::Bad(response) => response.status,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn requests_are_read() {
        let read = request("GET /metrics?x=1 HTTP/1.1\r\nHost: localhost:9469\r\nAccept: */*\r\n\r\n");
        let expected = Request { path: "/metrics".into(), head: false, host: Some("localhost:9469".into()) };
        assert_eq!(read, expected);
        assert!(request("HEAD / HTTP/1.0\r\n\r\n").head);
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nHo"), Parsed::Partial));
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"), 405);
        assert_eq!(status("\u{16}\u{3}\u{1}garbage\r\n\r\n"), 400);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_REQUEST))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(MAX_FIELDS + 1))), 431);
    }

    #[test]
    fn other_names_are_not_this_machine() {
        let host = |host: &str| request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_for_loopback();
        assert!(host("localhost") && host("LOCALHOST:1") && host("127.0.0.1:9469") && host("[::1]:9469"));
        assert!(!host("evil.example") && !host("localhost.evil.example:9469") && !host(""));
    }

    proptest! {
        #[test]
        fn no_octets_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
            parse(&[b"GET / HTTP/1.1\r\n", &bytes[..]].concat());
        }
    }
}
