//! Whole conversations.
#![allow(missing_docs)]

use console::tree::{Arg, Names, Role};
use console::{Console, Event, Other, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Known;
impl Names for Known {
    fn names(&self, kind: Arg) -> Vec<String> {
        if kind == Arg::Segment { vec!["servers".into(), "voice".into()] } else { Vec::new() }
    }
}

/// A console, and what came out of it.
struct Talk {
    console: Console,
    events: Vec<Event>,
    shown: String,
}

impl Talk {
    fn new(telnet: bool, role: Option<Role>) -> Self {
        let console = Console::new(Settings {
            name: "hub".into(),
            telnet,
            user: role.map(|role| ("ann".into(), role)),
        });
        let mut talk = Self { console, events: Vec::new(), shown: String::new() };
        if telnet {
            // DO ECHO, DO SGA, WILL NAWS, 80 columns and 10 rows.
            talk.send(&[255, 253, 1, 255, 253, 3, 255, 251, 31, 255, 250, 31, 0, 80, 0, 10, 255, 240]);
        }
        talk.shown();
        talk
    }

    fn send(&mut self, octets: &[u8]) {
        self.console.receive(octets, &Known);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let out = self.console.take_output(&Known);
            self.shown += &String::from_utf8_lossy(&out);
            let before = self.events.len();
            self.events.extend(std::iter::from_fn(|| self.console.poll_event()));
            if out.is_empty() && self.events.len() == before {
                return;
            }
        }
    }

    fn shown(&mut self) -> String {
        self.settle();
        std::mem::take(&mut self.shown).replace('\r', "")
    }

    fn asked(&mut self) -> Option<String> {
        self.settle();
        match self.events.pop() {
            Some(Event::Ask(line)) => Some(line),
            other => {
                self.events.extend(other);
                None
            }
        }
    }

    fn answer(&mut self, answer: Result<&Value, &str>) {
        self.console.answer(answer, &Known);
        self.settle();
    }
}

fn ports(count: usize) -> Value {
    json!({ "ports": (0..count).map(|at| json!({ "port": format!("p{at}"), "link": "up" })).collect::<Vec<_>>() })
}

#[test]
fn a_command_is_asked_in_full_and_its_answer_laid_out() {
    let mut talk = Talk::new(false, Some(Role::Admin));
    talk.send(b"sh po\n");
    assert_eq!(talk.asked().as_deref(), Some("show ports"));
    talk.answer(Ok(&ports(1)));
    let shown = talk.shown();
    assert!(shown.contains("PORT  LINK\np0    up\n") && shown.ends_with("hub# "), "{shown}");
}

#[test]
fn filters_errors_and_comments() {
    let mut talk = Talk::new(false, Some(Role::Admin));
    talk.send(b"show ports | include p1 | count\n");
    talk.asked().expect("asked");
    talk.answer(Ok(&ports(20)));
    assert!(talk.shown().contains("11 lines"));
    talk.send(b"! a comment\nshow nothing\n");
    assert!(talk.shown().contains("% unknown \"nothing\"; here: "));
    assert!(matches!(talk.events.pop(), Some(Event::Did(line, _)) if line == "show nothing"));
    talk.send(b"show ports\n");
    talk.asked().expect("asked");
    talk.answer(Err("no \x1b[2J"));
    assert!(talk.shown().contains("% no \\u{1b}[2J\n"));
}

#[test]
fn long_answers_come_in_pages() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"show ports\r\n");
    talk.asked().expect("asked");
    talk.shown();
    talk.answer(Ok(&ports(30)));
    let page = talk.shown();
    assert!(page.ends_with("p7    up\n--More--"), "{page}");
    talk.send(b"x\r\n");
    assert!(talk.shown().ends_with("p8    up\n--More--"), "one line");
    talk.send(b" ");
    assert!(talk.shown().ends_with("p17   up\n--More--"), "one page");
    talk.send(b"q");
    assert!(talk.shown().ends_with("hub> \x1b[K"));
    talk.send(b"terminal length 0\rshow ports\r");
    talk.asked().expect("asked");
    talk.answer(Ok(&ports(30)));
    assert!(talk.shown().contains("p29"), "no pages");
}

#[test]
fn the_question_mark_and_the_tab_key() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"show mac-table segment ?");
    let help = talk.shown();
    assert!(
        help.contains("<NAME>")
            && help.contains("voice")
            && help.ends_with("hub> show mac-table segment \x1b[K")
    );
    talk.send(b"vo\t\r");
    assert_eq!(talk.asked().as_deref(), Some("show mac-table segment voice"));
    let mut talk = Talk::new(false, Some(Role::Operator));
    talk.send(b"show ?\n");
    assert!(talk.shown().contains("mac-table"), "in whole lines too");
}

#[test]
fn what_is_typed_ahead_waits_and_control_c_ends_waiting() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"show ports\rshow segments\r");
    assert_eq!(talk.asked().as_deref(), Some("show ports"));
    talk.answer(Ok(&ports(1)));
    assert_eq!(talk.asked().as_deref(), Some("show segments"));
    talk.send(b"\x03");
    assert_eq!(talk.events.pop(), Some(Event::Cancel));
    talk.answer(Ok(&ports(5)));
    assert!(!talk.shown().contains("p4"), "nobody waits for it any more");
}

#[test]
fn control_c_ends_a_long_answer_that_nobody_takes() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"terminal length 0\rshow ports\r");
    talk.asked().expect("asked");
    talk.console.answer(Ok(&ports(20_000)), &Known);
    let first = talk.console.take_output(&Known).len();
    assert!(talk.console.wants_input());
    talk.console.receive(b"\x03", &Known);
    assert_eq!(talk.console.poll_event(), Some(Event::Cancel), "what was taken and not sent is of no use");
    let rest = talk.shown();
    assert!(first < 100_000 && rest.len() < 100 && rest.contains("^C\n"), "{first}, {rest}");
}

#[test]
fn the_live_view_ends_with_its_input() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"top\r");
    talk.console.end_of_input(&Known);
    talk.settle();
    assert_eq!(talk.events.pop(), Some(Event::Close));
    assert_eq!(talk.events.pop(), Some(Event::Cancel));
}

#[test]
fn what_takes_its_time_ends_with_the_terminal() {
    for (line, way) in [
        ("capture lines port p", "key"),
        ("ping segment voice 10.0.0.7 count 100", "key"),
        ("test path bern seconds 10", "end"),
        ("explain live icmp", "end"),
        ("top", "key"),
    ] {
        let mut talk = Talk::new(true, Some(Role::Admin));
        talk.send(format!("{line}\r").as_bytes());
        talk.asked().expect(line);
        talk.events.clear();
        match way {
            "key" => talk.send(b"\x04"),
            _ => talk.console.end_of_input(&Known),
        }
        talk.settle();
        assert_eq!(talk.events, [Event::Cancel, Event::Close], "{line}");
    }
    // A key that was typed ahead is for the time after an answer that comes at once.
    let mut talk = Talk::new(true, Some(Role::Admin));
    talk.send(b"show ports\r\x04");
    talk.asked().expect("asked");
    talk.answer(Ok(&ports(1)));
    assert!(talk.shown().contains("p0") && talk.events == [Event::Close]);
    // A script gets its answer.
    let mut talk = Talk::new(false, Some(Role::Admin));
    talk.send(b"capture lines count 1 port p\n\x04");
    talk.console.end_of_input(&Known);
    assert!(talk.asked().is_some() && talk.events.is_empty());
    talk.console.line(&json!({ "text": "one" }));
    talk.answer(Ok(&json!({ "captured": 1 })));
    assert!(talk.shown().contains("one") && talk.events == [Event::Close]);
}

#[test]
fn who_else_is_in_the_configuration_mode_is_told() {
    let other = |user: &str| Other { user: user.into(), from: "192.0.2.7:4444".into(), since: "noon".into() };
    let mut talk = Talk::new(true, Some(Role::Admin));
    talk.console.others(vec![other("ann"), other("bob")]);
    talk.send(b"configure\r");
    let shown = talk.shown();
    assert!(shown.contains("! ann from 192.0.2.7:4444, since noon, has this same candidate open"), "{shown}");
    assert!(shown.contains("! bob from 192.0.2.7:4444, since noon, changes a candidate too"), "{shown}");
    assert!(talk.console.configures());
    talk.console.others(vec![other("bob")]);
    talk.send(b"set segment voice mtu 9000\r");
    talk.asked().expect("asked");
    talk.answer(Ok(&json!({ "done": "ok" })));
    assert!(!talk.shown().contains("bob"), "only where it matters");
    talk.send(b"commit\r");
    assert_eq!(talk.asked().as_deref(), Some("configure ann commit"));
    let shown = talk.shown();
    assert!(shown.contains("! bob") && !shown.contains("! ann"), "{shown}");
    talk.console.others(Vec::new());
    talk.answer(Ok(&json!({ "done": "ok" })));
    talk.send(b"commit\r");
    assert!(!talk.shown().contains("! "));
    talk.answer(Ok(&json!({ "done": "ok" })));
    talk.send(b"exit\r");
    assert!(!talk.console.configures());
}

#[test]
fn a_script_ends_when_it_is_done() {
    let mut talk = Talk::new(false, Some(Role::Operator));
    talk.send(b"show ports\nshow segments");
    talk.console.end_of_input(&Known);
    talk.asked().expect("asked");
    talk.answer(Ok(&ports(1)));
    assert_eq!(talk.asked().as_deref(), Some("show segments"), "without the last newline");
    talk.answer(Ok(&ports(1)));
    assert_eq!(talk.events.pop(), Some(Event::Close));
}

#[test]
fn three_wrong_passwords_are_enough() {
    let mut talk = Talk::new(true, None);
    for turn in 0..3 {
        talk.send(b"alice\r");
        talk.send(b"guess?\t\r");
        let Some(Event::Login { user, password }) = talk.events.pop() else { panic!("turn {turn}") };
        assert_eq!((user.as_str(), password.as_str()), ("alice", "guess?"));
        assert!(!talk.shown().contains("guess"));
        talk.console.logged_in(Err("wrong".into()), &Known);
    }
    talk.settle();
    assert_eq!(talk.events.pop(), Some(Event::Close));
    let mut talk = Talk::new(true, None);
    talk.send(b"alice\rright\rshow ports\r");
    assert!(matches!(talk.events.pop(), Some(Event::Login { .. })));
    talk.console.logged_in(Ok(Role::Operator), &Known);
    assert_eq!(talk.asked().as_deref(), Some("show ports"));
}

#[test]
fn lines_of_a_stream_come_one_by_one() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"show ports | exclude two\r");
    talk.asked().expect("asked");
    talk.shown();
    talk.console.line(&json!({ "text": "one" }));
    talk.console.line(&json!({ "text": "two" }));
    assert_eq!(talk.shown(), "one\n");
    talk.answer(Ok(&Value::Null));
    assert!(talk.shown().ends_with("hub> \x1b[K"));
}

#[test]
fn the_configuration_mode_has_its_own_commands() {
    let mut talk = Talk::new(true, Some(Role::Admin));
    talk.send(b"conf\rset segment voice mtu 9000\r");
    assert_eq!(talk.asked().as_deref(), Some("configure ann set segment voice mtu 9000"));
    assert!(talk.shown().contains("hub(config)# "));
    talk.answer(Ok(&json!({ "done": "ok" })));
    for (typed, asked) in [
        ("show | compare", "configure ann compare"),
        ("show", "configure ann show"),
        ("com", ""),
        ("commit", "configure ann commit"),
        ("commit confirmed 5", "configure ann commit confirmed 5"),
        ("confirm", "configure confirm"),
        ("rollback 1", "configure ann rollback 1"),
        ("no segment voice", "configure ann delete segment voice"),
        ("do show ports", "show ports"),
        ("do sh po | count", "show ports"),
        ("do", ""),
    ] {
        talk.send(format!("{typed}\r").as_bytes());
        assert_eq!(talk.asked().unwrap_or_default(), asked, "{typed}");
        talk.answer(Ok(&json!({ "text": "x" })));
    }
    talk.shown();
    talk.send(b"do sh cou\t\r");
    assert_eq!(talk.asked().as_deref(), Some("show counters"));
    talk.answer(Ok(&json!({})));
    talk.shown();
    talk.send(b"do s?");
    let help = talk.shown();
    assert!(help.contains("site") && !help.contains("set "), "{help}");
    talk.send(b"\x15set ?");
    talk.shown();
    talk.send(b"\x15exit\r");
    assert!(talk.shown().ends_with("hub# \x1b[K"));
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"configure\r");
    assert!(talk.shown().contains("needs the role admin"));
}

#[test]
fn the_live_view_is_drawn_anew_and_left() {
    let mut talk = Talk::new(true, Some(Role::Operator));
    talk.send(b"top\r");
    assert_eq!(talk.asked().as_deref(), Some("show top"));
    talk.console.tick();
    assert_eq!(talk.asked(), None, "one at a time");
    talk.answer(Ok(&json!({ "service": { "sites": [{ "site": "bern", "state": "up" }] } })));
    assert!(talk.shown().contains("bern"));
    talk.console.tick();
    assert_eq!(talk.asked().as_deref(), Some("show top"));
    talk.send(b"q");
    assert!(!talk.console.is_live() && talk.shown().ends_with("hub> \x1b[K"));
}

/// Nobody reads, and the host goes on as long as it is told to.
fn flood(talk: &mut Talk, octets: &[u8]) -> usize {
    let mut most = 0;
    for part in octets.chunks(256) {
        if talk.console.wants_input() {
            talk.console.receive(part, &Known);
        }
        most = most.max(talk.console.held());
    }
    most
}

#[test]
fn who_has_not_logged_in_fills_no_memory() {
    // NAWS with 65535 columns, then wide characters.
    let wide =
        [&b"\xff\xfa\x1f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0"[..], "\u{1f980}".repeat(2175).as_bytes()]
            .concat();
    for octets in [
        b"\xff\xf6".repeat(1 << 16),
        b"\xff\xfe\x01\xff\xfd\x01".repeat(1 << 15),
        [wide, vec![2; 1 << 16]].concat(),
    ] {
        let most = flood(&mut Talk::new(true, None), &octets);
        assert!(most < 200 << 10, "{most} octets");
    }
}

#[test]
fn keys_that_draw_much_wait_until_it_is_taken() {
    let mut talk = Talk::new(true, None);
    talk.send(b"\xff\xfa\x1f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0alice\r");
    // While the password is checked, all of it is typed ahead.
    talk.send(b"x\r");
    let ahead = [vec![b'y'; 2000], vec![2; 2000], b"\x05\x15show ports\r".to_vec()].concat();
    flood(&mut talk, &ahead);
    talk.console.logged_in(Ok(Role::Operator), &Known);
    assert!(talk.console.held() < 200 << 10, "{}", talk.console.held());
    assert_eq!(talk.asked().as_deref(), Some("show ports"), "in the end all of it was done");
}

#[test]
fn options_are_answered_at_once() {
    let mut talk = Talk::new(true, None);
    talk.send(b"\xff\xf6");
    assert!(talk.shown().contains("[yes]"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes: memory stays bounded as long as the host stops reading when told, and nothing fails.
    #[test]
    fn garbage_is_bounded(
        chunks in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            Just(vec![b'x'; 5000]),
            Just(b"show ports | count\r".to_vec()),
            Just(b"\xff\xfa\x1f".to_vec()),
            Just(b"?\t\x10\x0e".to_vec()),
            Just(b"\xff\xf6".repeat(2000)),
            Just(b"\xff\xfe\x01\xff\xfd\x01".repeat(500)),
            Just("\u{1f980}".repeat(1000).into_bytes()),
            Just(b"\xff\xfa\x1f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0".to_vec()),
            Just(vec![2; 3000]),
            "[ -~]{0,40}\r".prop_map(String::into_bytes),
        ], 0..40),
        telnet in any::<bool>(),
    ) {
        let mut talk = Talk::new(telnet, Some(Role::Admin));
        for chunk in chunks {
            for part in chunk.chunks(512).filter(|_| true) {
                if talk.console.wants_input() {
                    talk.console.receive(part, &Known);
                    prop_assert!(talk.console.held() < 300 << 10, "{}", talk.console.held());
                }
                talk.settle();
                prop_assert!(talk.shown.len() < 4 << 20);
            }
            if talk.asked().is_some() {
                talk.answer(Ok(&ports(3)));
            }
            talk.events.clear();
            talk.shown.clear();
        }
    }
}
