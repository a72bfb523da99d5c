//! Fuzz targets for every parser, one test each: `./dev fuzz NAME --seconds N`.
//!
//! Inputs are good examples with random changes, and random octets. A target fails by panicking. The seed is printed
//! when it does; `CAUSEWAY_FUZZ_SEED` repeats it.
#![allow(missing_docs, clippy::print_stdout)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A small generator (xorshift64*), so that a run is repeated by one number.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    /// A good example with a few changes, or nothing but noise.
    fn input(&mut self, examples: &[Vec<u8>]) -> Vec<u8> {
        if examples.is_empty() || self.below(8) == 0 {
            return (0..self.below(200)).map(|_| self.next() as u8).collect();
        }
        let mut input = examples[self.below(examples.len())].clone();
        for _ in 0..self.below(5) {
            let at = self.below(input.len());
            match self.below(5) {
                _ if input.is_empty() => input.push(self.next() as u8),
                0 => input[at] = self.next() as u8,
                1 => input[at] ^= 1 << self.below(8),
                2 => input.truncate(at),
                3 => input.insert(at, self.next() as u8),
                _ => {
                    let other = &examples[self.below(examples.len())];
                    input.truncate(at);
                    input.extend_from_slice(&other[self.below(other.len())..]);
                }
            }
        }
        input
    }
}

fn fuzz(examples: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(variable("CAUSEWAY_FUZZ_SECONDS").unwrap_or(1));
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    let seed = variable("CAUSEWAY_FUZZ_SEED").unwrap_or(clock) | 1;
    let (mut chance, start, mut runs) = (Chance(seed), Instant::now(), 0u64);
    while start.elapsed() < time {
        let input = chance.input(examples);
        runs += 1;
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let hex: String = input.iter().map(|octet| format!("{octet:02x}")).collect();
            panic!("seed {seed}, run {runs}: input {hex}");
        }
    }
    println!("{runs} inputs, seed {seed}");
}

fn udp_frame(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    packet.extend(((28 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0xc0, 0, 0x12, 0xb5]);
    packet.extend(((8 + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn frames() {
    let inner = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x81, 0, 0, 10, 8, 0], &[7; 40]].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0x13, 0x92, 0][..], &inner].concat();
    fuzz(&[inner.clone(), udp_frame(&vxlan), udp_frame(&[])], |input| {
        if let Ok(Some(udp)) = wire::frame::parse_udp(input) {
            assert!(udp.payload.end <= input.len());
            let _ = wire::vxlan::VxlanHeader::parse(&input[udp.payload]);
        }
        let _ = (
            wire::ethernet::addresses(input),
            wire::ethernet::outer_tag(input),
            wire::inner::inner(input),
            wire::arp::ArpPacket::parse(input),
            wire::nd::NdPacket::parse(input),
            wire::flow::hash(Default::default(), Default::default(), input),
        );
    });
}

#[test]
fn guards() {
    use bridge::{AttachmentIndex, Endpoint, SegmentIndex};
    use guard::probe::{Member, Probe, ProbeKey};
    use guard::{Frame, LoopGuard, LoopSettings, Mode, Neighbours, Sessions, Watched};
    let member = |n| Member::new(n > 0, "paris", [n; 7]);
    let key = |n| ProbeKey::new(&[n; 32]);
    let mut probe = Probe::new(&key(1), member(1), 10, 0, 5_000_000);
    probe.passed = vec![member(0); 3];
    probe.place = "oslo trunk0 VLAN 10".into();
    let arp = [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2][..], &[2, 0, 0, 0, 0, 1, 10, 0, 0, 1], &[0; 10]].concat();
    let (segment, at) = (SegmentIndex(0), AttachmentIndex(0));
    let mut loops = LoopGuard::new(member(1), key(1), LoopSettings::default());
    let watched = Watched { at, segment, tunnel: 10, mode: Mode::Block, label: String::new() };
    let sessions = [(segment, Sessions::default())].into();
    loops.arrange(Duration::ZERO, LoopSettings::default(), vec![watched], sessions, true);
    let mut neighbours = Neighbours::default();
    let mut now = Duration::from_secs(5);
    fuzz(&[probe.to_bytes(), arp], |input| {
        now += Duration::from_millis(1);
        loops.heard(now, segment, Endpoint::Attachment(at), input);
        loops.handle_timeout(now);
        while loops.poll_output().is_some() {}
        let src = wire::mac::MacAddr([2, 0, 0, 0, 0, 1]);
        let frame = Frame { segment, from: Endpoint::Attachment(at), src, rest: input, held: true };
        neighbours.take(now, Duration::from_secs(300), frame, |_| None);
    });
}

#[test]
fn records() {
    use record::{Cipher, Engine as AeadEngine, KeyLimits, LaneId, LaneSecret, RxLane, Suite, TxLane};
    const SUITE: Suite = Suite { cipher: Cipher::Aes128Gcm, engine: AeadEngine::Ring };
    let id = LaneId::new(77).expect("24 bits");
    let lane = || LaneSecret::new([3; 32]);
    let mut tx = TxLane::new(id, SUITE, lane(), KeyLimits::default(), Duration::ZERO);
    let sealed: Vec<Vec<u8>> = (0..8)
        .map(|n| {
            let mut record = vec![n; 24 + 50];
            tx.seal(&mut record, Duration::ZERO).expect("sealed");
            record
        })
        .collect();
    let mut rx = RxLane::new(id, SUITE, lane());
    fuzz(&sealed, |input| {
        let genuine = sealed.iter().any(|record| record == input);
        assert!(rx.open(&mut input.to_vec()).is_err() || genuine, "a forgery was taken");
    });
}

#[test]
fn blocks() {
    use record::block::{self, BlockWriter};
    let mut area = [0; 300];
    let mut writer = BlockWriter::new();
    writer.push(&mut area, 10, (&[1; 12], &[1; 88]), 0);
    writer.push(&mut area, 11, (&[], &[2; 400]), 0);
    fuzz(&[area.to_vec()], |input| {
        let mut end = 0;
        for block in block::blocks(input).map_while(Result::ok) {
            assert!(
                block.range.start >= end + 4 && block.range.end <= input.len() && !block.range.is_empty()
            );
            end = block.range.end;
        }
    });
}

#[test]
fn messages() {
    use session::message::{Login, Message};
    let login = Message::Login(Login {
        versions: (1, 1),
        instance: [1; 16],
        mechanism: "SCRAM-SHA-256-PLUS".into(),
        first: b"p=tls-exporter,,n=a,r=b".to_vec(),
        software: "x".into(),
        ciphers: vec![1, 2],
        paths: 2,
        tcp: true,
    });
    let mut batch = session::Batch::default();
    assert!(batch.push(&[7; 40]) && batch.push(&[8; 30]));
    let records = batch.take().split_off(4);
    let examples = [login.encode(), Message::Bye { code: 1, text: "x".into() }.encode(), records];
    fuzz(&examples, |input| {
        if let Ok(message) = Message::decode(input) {
            if !matches!(message, Message::Unknown(_)) {
                assert_eq!(Message::decode(&message.encode()).expect("our own"), message);
            }
        }
    });
}

#[test]
fn scram() {
    use session::scram;
    struct Zero;
    impl session::Random for Zero {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    let verifier = scram::Verifier::new("x", &mut Zero).expect("allowed");
    let text = verifier.to_string().into_bytes();
    let first = b"p=tls-exporter,,n=a=2Cb,r=abc".to_vec();
    fuzz(&[text, first], |input| {
        if let Ok((_, bare)) = scram::parse_first(input) {
            if let Ok(server) = scram::ServerScram::new(&bare, verifier.clone(), [0; 32], &mut Zero) {
                assert!(server.verify(input).is_err());
            }
        }
        let _ = String::from_utf8_lossy(input).parse::<scram::Verifier>();
    });
}

#[test]
fn configuration() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../appliance-config");
    let examples: Vec<Vec<u8>> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| std::fs::read(path).expect("readable"))
        .collect();
    fuzz(&examples, |input| {
        let _ = config::Config::parse(Path::new("fuzz.toml"), &String::from_utf8_lossy(input));
    });
}

/// Both AES-GCM engines give the same octets, and each opens what the other sealed and nothing else.
#[test]
fn engines() {
    use record::{Cipher, Engine, KeyLimits, LaneId, LaneSecret, OVERHEAD, RxLane, Suite, TxLane};
    let example = [&[9; 32][..], &[0], &[5; 700]].concat();
    fuzz(&[example], |input| {
        let Some((secret, rest)) = input.split_first_chunk::<32>() else { return };
        let Some((cipher, text)) = rest.split_first() else { return };
        let cipher = if cipher & 1 == 0 { Cipher::Aes128Gcm } else { Cipher::Aes256Gcm };
        let id = LaneId::new(7).expect("24 bits");
        let sealed = Engine::ALL.map(|engine| {
            let suite = Suite { cipher, engine };
            let mut lane =
                TxLane::new(id, suite, LaneSecret::new(*secret), KeyLimits::default(), Duration::ZERO);
            let mut record = [&[0; 8][..], text, &[0; OVERHEAD - 8]].concat();
            lane.seal(&mut record, Duration::ZERO).expect("a record");
            record
        });
        assert_eq!(sealed[0], sealed[1]);
        for engine in Engine::ALL {
            let mut lane = RxLane::new(id, Suite { cipher, engine }, LaneSecret::new(*secret));
            let mut changed = sealed[0].clone();
            let at = 8 + text.len() / 2;
            changed[at] ^= 1;
            assert!(lane.open(&mut changed).is_err(), "{engine:?} takes what was changed");
            assert!(
                lane.open(&mut sealed[0].clone()).is_ok_and(|opened| opened.plaintext == text),
                "{engine:?}"
            );
        }
    });
}

/// Whatever the kernel says of a frame, cutting it never panics; whatever is joined is cut into what it was.
#[test]
fn super_frames() {
    use kernelport::cut::{Checksums, Cutter};
    use kernelport::join::Joined;
    use kernelport::vnet::VnetHeader;
    use wire::buf::{BufPool, HeapPool, PacketBuf};
    use zerocopy::FromBytes;

    let vnet = |kind: u8, size: u16, start: u16| {
        let mut octets = vec![1, kind, 0, 0];
        octets.extend([size.to_ne_bytes(), start.to_ne_bytes(), 16u16.to_ne_bytes()].concat());
        octets
    };
    let mut tcp =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0x0b, 0xe0, 0, 0, 0x40, 0, 64, 6, 0, 0];
    tcp.extend([
        10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 1, 0, 0, 0, 0,
    ]);
    tcp.extend([3; 3000]);
    let udp = udp_frame(&[4; 4000]);
    let examples = [[vnet(1, 1000, 34), tcp].concat(), [vnet(5, 700, 34), udp].concat()];
    fuzz(&examples, |input| {
        let Some((head, frame)) = input.split_at_checked(10) else { return };
        let vnet = VnetHeader::read_from_bytes(head).expect("10 octets");
        let Ok(mut cutter) = Cutter::new(frame, &vnet, Checksums::Finish) else { return };
        let mut pool = HeapPool::new(9000);
        let mut bufs = Vec::new();
        for _ in 0..cutter.left().min(60) {
            let mut buf = pool.alloc().expect("an unlimited pool");
            if cutter.next(frame, &mut buf) {
                bufs.push(buf);
            }
        }
        let segments: Vec<Vec<u8>> = bufs.iter().map(|buf| buf.data().to_vec()).collect();
        let mut joined = Joined::<64>::default();
        joined.plan(&mut bufs, Default::default(), true);
        let mut again = Vec::new();
        for message in joined.messages() {
            let mut octets = Vec::new();
            for (nth, at) in joined.chain(message).enumerate() {
                octets.extend_from_slice(&bufs[at].data()[if nth == 0 { 0 } else { message.skip }..]);
            }
            let mut cutter = Cutter::new(&octets, &message.vnet, Checksums::Finish).expect("our own");
            while cutter.left() > 0 {
                let mut buf = pool.alloc().expect("an unlimited pool");
                assert!(cutter.next(&octets, &mut buf));
                again.push(buf.data().to_vec());
            }
        }
        assert_eq!(again.len(), segments.len());
        assert!(segments.iter().all(|segment| again.contains(segment)), "what was joined was changed");
    });
}

#[test]
fn join_tokens() {
    let good = pki::token::Token {
        servers: vec![("vpn.example.com".into(), 443)],
        fingerprints: vec![[7; 32]],
        site: "branch".into(),
        password: String::from("secret").into(),
        segments: Vec::new(),
    };
    let text = good.to_string();
    fuzz(&[text.clone().into_bytes()], |input| {
        let input = String::from_utf8_lossy(input);
        // Nobody hits a checksum of 64 bits by chance: what is read is what was written.
        if let Ok(token) = input.parse::<pki::token::Token>() {
            assert!(token == good, "{input}");
        }
    });
}

#[test]
fn certificates() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params =
        rcgen::CertificateParams::new(vec!["vpn.example.com".into(), "192.0.2.1".into()]).expect("names");
    let certificate = params.self_signed(&key).expect("a certificate");
    let request = params.serialize_request(&key).expect("a request");
    let examples = [certificate.der().to_vec(), request.der().to_vec(), key.serialize_der()];
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    fuzz(&examples, |input| {
        let _ = pki::Kind::of_binary(input);
        if let Ok(facts) = pki::Facts::of(input) {
            let warnings = facts.warnings(1_800_000_000);
            assert!(
                !warnings.concat().contains(char::is_control) && !facts.subject.contains(char::is_control)
            );
        }
        let _ = pki::CrlFacts::of(input);
        let _ = pki::key_of_request(input);
        let _ = pki::key_from_pem(input);
        let _ = pki::arrange(&[input.to_vec().into()], &public);
        let _ = pki::missing_issuer(&[input.to_vec().into()], &[input.to_vec().into()]);
    });
}

/// The first line are words, the rest is the file.
#[test]
fn candidates() {
    const FILE: &str = "mode = \"server\"\n[[segment]] # one\nname = \"a\"\ntunnel_id = 1\n[segment.gateway]\n\
         routes = [{ to = \"10.0.0.0/8\", via = \"10.0.0.1\" }]\n[server]\nciphers = [\"aes-128-gcm\"]\n[[server.site]]\nuser = \"b\"\n";
    let lines = [
        "set segment a mtu 1500 mss_clamp true",
        "set segment b#2 attachment trunk0 vlan 3",
        "set segment a gateway routes 10.0.0.0/8 via 10.0.0.2",
        "add server ciphers aes-256-gcm",
        "delete site b",
        "delete segment a gateway",
        "set site b segments a b c",
    ];
    let examples: Vec<Vec<u8>> = lines.iter().map(|line| format!("{line}\n{FILE}").into_bytes()).collect();
    fuzz(&examples, |input| {
        let input = String::from_utf8_lossy(input);
        let (line, text) = input.split_once('\n').unwrap_or((&input, ""));
        let Ok(mut candidate) = config::edit::Candidate::new(Path::new("a.toml"), text) else { return };
        let words: Vec<&str> = line.split(' ').collect();
        let (how, words) = words.split_first().map_or(("", &[][..]), |(how, words)| (*how, words));
        let _ = config::edit::complete(&candidate, words);
        let _ = candidate.show(words);
        let done = match how {
            "add" => candidate.add(words),
            "delete" => candidate.delete(words),
            _ => candidate.set(words),
        };
        let after = candidate.text();
        if done.is_err() {
            assert_eq!(after, text, "a change that fails changes nothing");
        }
        assert!(
            config::edit::Candidate::new(Path::new("a.toml"), &after).is_ok(),
            "no TOML any more: {after}"
        );
        let _ = candidate.compare(text);
        let _ = candidate.check();
        let _ = candidate.merge(FILE);
    });
}

#[test]
fn console() {
    let examples: Vec<Vec<u8>> = [
        &b"\xff\xfd\x01\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0show service l2vpn | include up\r"[..],
        b"sh mac seg \"a b\" ?\t\x10\x1b[D\x17\x03show counters | json\r",
        b"configure\rset segment servers mtu 9000\rshow | compare\rcommit confirmed 5\r\x1atop\rq",
        b"terminal length 3\rhistory\r q",
    ]
    .iter()
    .map(|text| text.to_vec())
    .collect();
    let answer =
        serde_json::json!({ "sites": [{ "site": "a\u{1b}[2J", "state": "up" }], "text": "x\n\u{9b}" });
    fuzz(&examples, |input| {
        let user =
            (input.first().unwrap_or(&0) & 1 == 0).then(|| ("ann".to_owned(), console::tree::Role::Admin));
        let settings = console::Settings { name: "hub".into(), telnet: input.len() & 1 == 0, user };
        let mut open = console::Console::new(settings);
        let names = &console::tree::NoNames;
        for chunk in input.chunks(7) {
            if open.wants_input() {
                open.receive(chunk, names);
            }
            while let Some(event) = open.poll_event() {
                match event {
                    console::Event::Ask(_) => open.answer(Ok(&answer), names),
                    console::Event::Login { .. } => open.logged_in(Ok(console::tree::Role::Operator), names),
                    _ => {}
                }
            }
            open.tick();
            assert!(open.take_output(names).len() < 1 << 20);
        }
    });
}
