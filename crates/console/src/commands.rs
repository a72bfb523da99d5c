//! All commands.

use std::sync::LazyLock;

use crate::render::{done, views};
use crate::tree::{Arg, Local, Node, value, word};

/// The commands of a console.
pub fn root() -> &'static Node {
    static ROOT: LazyLock<Node> = LazyLock::new(build);
    &ROOT
}

fn build() -> Node {
    word("causeway", "The console").then([
        show(),
        word("clear", "Forget what was found or counted")
            .then([
                word("loops", "Listen for loops anew").asks(done),
                word("duplicates", "Let addresses that are used in several places move again")
                    .asks(done)
                    .then([value("MAC", Arg::Mac, "Only this one").asks(done)]),
            ])
            .admin(),
        word("reload", "Put the changed configuration file in force").asks(done).admin(),
        word("terminal", "How this console shows things").then([word("length", "Lines of a page").then([
            value("LINES", Arg::Number(0, 512), "So many; 0: no pages").local(Local::TerminalLength),
        ])]),
        word("history", "The lines entered before").local(Local::History),
        word("help", "How to use this console").local(Local::Help),
        word("exit", "End this session").local(Local::Exit),
        word("quit", "End this session").local(Local::Exit),
    ])
}

fn site_name() -> Node {
    value("NAME", Arg::Site, "The site's user name")
}

fn show() -> Node {
    word("show", "Show what runs and how").then([
        word("service", "What the appliance does").then([service()]),
        word("ports", "Ports, their links and counters").asks(views::ports),
        word("segments", "Stretched networks, where they meet ports and sites").asks(views::segments),
        word("mac-table", "Learned MAC addresses").asks(views::mac_table).with(mac_filters()),
        word("loops", "What the loop guard found").asks(views::loops),
        word("drops", "The last frames dropped for each reason").asks(views::drops).then([value(
            "REASON",
            Arg::Reason,
            "Only this reason",
        )
        .asks(views::drops)]),
        word("certificate", "The certificates in use").asks(views::certificates),
        word("consoles", "Open consoles").asks(views::consoles),
        word("counters", "All counters, drops by reason").asks(views::counters),
    ])
}

fn service() -> Node {
    word("l2vpn", "The L2 VPN service: tunnels to sites").asks(views::service).then([word(
        "statistics",
        "Counters under the names that NSX has for them",
    )
    .asks(views::statistics)
    .then([
        word("site", "Only of a site").then([site_name().asks(views::statistics)]),
        word("segment", "Only of a segment")
            .then([value("NAME", Arg::Segment, "The segment's name").asks(views::statistics)]),
    ])])
}

fn mac_filters() -> Vec<Node> {
    vec![
        word("segment", "Only of a segment").then([value("NAME", Arg::Segment, "The segment's name")]),
        word("site", "Only behind a site").then([site_name()]),
        word("port", "Only behind a port").then([value("NAME", Arg::Port, "The port's name")]),
        word("mac", "Only this address").then([value("MAC", Arg::Mac, "The address")]),
    ]
}
