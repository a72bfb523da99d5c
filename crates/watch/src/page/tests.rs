//! What a peer says stays text, and the page shows what it is for.

use std::time::Duration;

use counters::DropReason;

use super::*;
use crate::snapshot::{Port, Segment, Site, Worker};

const EVIL: &str = "<script>alert('x')</script>\"><img src=x onerror=1>";

fn snapshot(now: u64) -> Snapshot {
    let site = |name: &str, state: &'static str| Site {
        name: name.into(),
        state,
        since: (state == "up").then_some(Duration::ZERO),
        last_failure: Some((Duration::ZERO, EVIL.into())),
        peer: Some(EVIL.into()),
        ..Site::default()
    };
    let segment = Segment {
        name: EVIL.into(),
        enabled: true,
        attachments: vec![(EVIL.into(), "blocked")],
        sites: vec![0],
        drops: vec![(DropReason::LoopBlocked, 4)],
        ..Segment::default()
    };
    Snapshot {
        now: Duration::from_secs(now),
        mode: "server",
        version: "1.2.3",
        sites: vec![site("one", "up"), site(EVIL, "down"), site("three", "disabled")],
        segments: vec![segment],
        ports: vec![Port { name: EVIL.into(), role: "trunk", ..Port::default() }],
        workers: vec![Worker { stalled: true, ..Worker::default() }],
        drops: vec![(DropReason::LoopBlocked, 1234), (DropReason::Runt, 0)],
        macs: (1, 2),
        certificates: vec![("server", 86_400 * 40)],
        ..Snapshot::default()
    }
}

fn page() -> String {
    let mut history = History::default();
    for round in 0..30 {
        history.note(&snapshot(round * 10));
    }
    write(&snapshot(300), &history)
}

#[test]
fn text_of_a_peer_stays_text() {
    let page = page();
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("onerror=1>"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn nothing_comes_from_elsewhere() {
    let (page, style) = (page(), STYLE);
    for word in ["http:", "https:", "//", "@import", "url(", " style=", "javascript:"] {
        assert!(!page.contains(word) && !style.contains(word), "{word}");
    }
}

#[test]
fn it_says_how_the_appliance_does() {
    let page = page();
    for words in [
        "1 of 2 sites up, a worker is stuck",
        "loop_blocked",
        "1\u{202f}234",
        ">stuck<",
        ">blocked<",
        "disabled by the operator",
        "40",
    ] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert!(!page.contains("<code>runt</code>"), "only what happened");
}

#[test]
fn tags_are_closed() {
    let page = page();
    for tag in ["table", "tbody", "tr", "td", "svg", "section", "span", "small", "p", "g", "title", "text"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_thousand_sites_are_not_too_many() {
    let mut snapshot = snapshot(10);
    let sites = (0..1000).map(|at| Site { name: format!("site{at}"), state: "up", ..Site::default() });
    snapshot.sites = sites.collect();
    let page = write(&snapshot, &History::default());
    assert!(
        page.contains("and 744 more") && page.contains("and 988 more") && page.len() < 600_000,
        "{}",
        page.len()
    );
}
