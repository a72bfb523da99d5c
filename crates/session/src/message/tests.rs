use super::*;
use proptest::prelude::*;

fn examples() -> Vec<Message> {
    let lane = |raw| LaneId::new(raw).expect("24 bits");
    let segments =
        vec![(TunnelId::new(10).expect("in range"), 1500), (TunnelId::new(4093).expect("in range"), 9000)];
    vec![
        Message::Login(Login {
            versions: (1, 1),
            instance: [7; 16],
            mechanism: MECHANISM.into(),
            first: b"p=tls-exporter,,n=a,r=b".to_vec(),
            software: "causeway".into(),
            ciphers: vec![1, 2],
            paths: 2,
            tcp: true,
        }),
        Message::Challenge(b"r=1".to_vec()),
        Message::Response(b"c=1".to_vec()),
        Message::Welcome(Welcome {
            last: b"v=1".to_vec(),
            version: 1,
            lanes: 2,
            data_port: 443,
            segments: segments.clone(),
            dead_peer_ms: 3000,
            cipher: 2,
            paths: 4,
            tcp: true,
        }),
        Message::Open(Open { lanes: vec![lane(1), lane(0xff_ffff)], count: 1, segments: segments.clone() }),
        Message::Opened(vec![lane(5)]),
        Message::Refused { code: 1, text: "no".into(), retry_ms: Some(5) },
        Message::Refused { code: 1, text: "no".into(), retry_ms: None },
        Message::Bye { code: 1, text: "ends".into() },
        Message::Redirect("[::1]:443".into()),
        Message::Segments(segments),
        Message::Unknown(77),
    ]
}

#[test]
fn messages_round_trip() {
    for message in examples() {
        assert_eq!(Message::decode(&message.encode()).expect("well-formed"), message);
    }
}

#[test]
fn unknown_keys_are_skipped_whatever_their_value() {
    // bye {99: [1, {2: "x"}], 1: 1, 2: "ends"}
    let bytes =
        [&[0x82, 8, 0xa3, 0x18, 99, 0x82, 1, 0xa1, 2, 0x61, b'x', 1, 1, 2, 0x64][..], b"ends"].concat();
    assert_eq!(Message::decode(&bytes).expect("well-formed"), Message::Bye { code: 1, text: "ends".into() });
}

#[test]
fn known_keys_with_wrong_values_are_refused() {
    for bytes in [
        &[0x82, 8, 0xa1, 1, 0x61, b'x'][..],                // a text for the code
        &[0x82, 8, 0xa1, 2, 0x61, b'x'],                    // no code
        &[0x82, 6, 0xa1, 1, 0x81, 0x1a, 1, 0, 0, 0],        // a lane of 25 bits
        &[0x82, 10, 0xa1, 1, 0x81, 0x82, 0, 1],             // tunnel ID 0
        &[0x82, 10, 0xa1, 1, 0x82, 0x82, 1, 1, 0x82, 1, 1], // twice
        &[0x81, 8],
        &[],
    ] {
        assert!(Message::decode(bytes).is_err(), "{bytes:02x?}");
    }
}

proptest! {
    #[test]
    fn cut_and_changed_messages_do_not_panic(
        which in 0..12usize,
        cut: prop::sample::Index,
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = examples()[which].encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn random_octets_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Message::decode(&bytes);
    }
}
