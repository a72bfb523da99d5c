//! All commands.

use std::sync::LazyLock;

use crate::expression::expression;
use crate::render::{any, done, lines, views};
use crate::tree::{Arg, Local, Node, value, word};

/// Octets of the largest frame that is captured, or explained.
pub const MAX_FRAME: u64 = 9728;

/// Commands that take their time, and end with who asked.
pub(crate) const LASTING: &[&str] = &["capture", "explain", "ping", "test"];

/// The commands of a console.
pub fn root() -> &'static Node {
    static ROOT: LazyLock<Node> = LazyLock::new(build);
    &ROOT
}

/// The commands of the configuration mode.
pub fn configure() -> &'static Node {
    static CONFIGURE: LazyLock<Node> = LazyLock::new(build_configure);
    &CONFIGURE
}

fn build() -> Node {
    word("causeway", "The console").then([
        show(),
        clear(),
        word("site", "Take sites into service, or out of it")
            .then([switch("enable"), switch("disable")])
            .admin(),
        word("service", "Take the whole service into operation, or out of it")
            .then([word("l2vpn", "The L2 VPN service").then([
                word("enable", "Let sessions begin again").asks(done),
                word("disable", "End all sessions and take no logins, until a reload or commit").asks(done),
            ])])
            .admin(),
        word("reload", "Put the changed configuration file in force").asks(done).admin(),
        word("configure", "Change the configuration: a candidate, checked and put in force as a whole")
            .local(Local::Configure)
            .admin(),
        debug(),
        explain(),
        word("test", "Find what is wrong").then([
            word("segment", "Test frames and findings, in both directions").then([segment_name().asks(any)]),
            word("path", "Throughput, loss and round trip to a site, at a bounded rate")
                .then([site_name().asks(any).with([
                    word("rate", "Mbit/s").then([value("MBITS", Arg::Number(1, 200), "So many")]),
                    word("seconds", "For how long").then([value("N", Arg::Number(1, 10), "So many")]),
                ])])
                .admin(),
        ]),
        word("ping", "Ask for a host in a segment").then([word("segment", "In a segment").then([
            segment_name().then([value("ADDRESS", Arg::Ip, "The host's address").asks(any).with([word(
                "count",
                "How often",
            )
            .then([value("N", Arg::Number(1, 100), "So many")])])]),
        ])]),
        capture(),
        word("top", "Rates, workers, drops and alarms, live").local(Local::Top),
        word("terminal", "How this console shows things").then([word("length", "Lines of a page").then([
            value("LINES", Arg::Number(0, 512), "So many; 0: no pages").local(Local::TerminalLength),
        ])]),
        word("history", "The lines entered before").local(Local::History),
        word("help", "How to use this console").local(Local::Help),
        word("exit", "End this session").local(Local::Exit),
        word("quit", "End this session").local(Local::Exit),
    ])
}

fn build_configure() -> Node {
    let words = |help| value("WORDS", Arg::Rest, help);
    word("configure", "The configuration mode").then([
        word("set", "Set a key of the candidate").then([words("Table, key and value").asks(done)]),
        word("add", "Add values to a list").then([words("Table, key and values").asks(done)]),
        word("delete", "Remove a key, a table, or values of a list")
            .then([words("Table and key").asks(done)]),
        word("no", "The same as delete").then([words("Table and key").asks(done)]),
        word("do", "A command from outside this mode").then([words("The command").asks(any)]),
        word("show", "Show the candidate").asks(lines).then([words("Only this table").asks(lines)]),
        word("compare", "What the candidate changes; show | compare says the same").asks(lines),
        word("check", "Check the candidate without putting it in force").asks(done),
        word("commit", "Put the candidate in force and write the file").asks(done).then([word(
            "confirmed",
            "Goes back by itself unless confirm follows in time",
        )
        .then([value("MINUTES", Arg::Number(1, 1440), "In so many minutes").asks(done)])]),
        word("confirm", "Keep what was committed with confirmed").asks(done),
        word("rollback", "Make an older version the candidate").then([value(
            "N",
            Arg::Number(0, 1000),
            "Its number; 0: what is in force",
        )
        .asks(done)]),
        word("versions", "The versions there are").asks(any),
        word("merge", "Do the candidate's changes on top of a configuration that has changed since")
            .asks(done),
        word("discard", "Forget the candidate").asks(done),
        word("terminal", "How this console shows things").then([word("length", "Lines of a page").then([
            value("LINES", Arg::Number(0, 512), "So many; 0: no pages").local(Local::TerminalLength),
        ])]),
        word("history", "The lines entered before").local(Local::History),
        word("help", "How to use this console").local(Local::Help),
        word("exit", "Leave this mode; the candidate stays").local(Local::Exit),
        word("end", "Leave this mode; the candidate stays").local(Local::Exit),
    ])
}

fn site_name() -> Node {
    value("NAME", Arg::Site, "The site's user name")
}

fn segment_name() -> Node {
    value("NAME", Arg::Segment, "The segment's name")
}

fn switch(what: &'static str) -> Node {
    let help = if what == "enable" { "Into service" } else { "Out of service, until a reload or commit" };
    word(what, help).then([site_name().asks(done)])
}

fn show() -> Node {
    word("show", "Show what runs and how").then([
        word("service", "What the appliance does").then([service()]),
        word("configuration", "The configuration file, without secrets").asks(lines).then([word(
            "l2vpn",
            "Only what is stretched, and to whom",
        )
        .asks(lines)]),
        word("ports", "Ports, their links and counters").asks(views::ports),
        word("queues", "Queues of ports with their counters, and those between threads").asks(views::queues),
        word("segments", "Stretched networks, where they meet ports and sites").asks(views::segments),
        word("mac-table", "Learned MAC addresses").asks(views::mac_table).with(mac_filters(true)),
        word("sessions", "Sessions with transport, path, round trip, loss and keys")
            .asks(views::sessions)
            .then([site_name().asks(any)]),
        word("counters", "Counters with rates; drops by reason").asks(views::counters),
        word("drops", "The last frames dropped for each reason").asks(views::drops).then([value(
            "REASON",
            Arg::Reason,
            "Only this reason",
        )
        .asks(views::drops)]),
        word("alarms", "What the background watch found").asks(any),
        word("loops", "What the loop guard found").asks(views::loops),
        word("neighbours", "IP addresses that are answered for").asks(views::neighbours),
        word("workers", "Load of the workers").asks(views::workers),
        word("certificate", "The certificates in use").asks(views::certificates),
        word("consoles", "Open consoles").asks(views::consoles),
        word("debug", "What is in the log").asks(any),
        word("log", "The last lines of the log").asks(views::log).with([
            word("level", "Of this level and above").then([level()]),
            word("limit", "How many lines").then([value("N", Arg::Number(1, 1000), "So many")]),
        ]),
        word("top", "Rates, workers, drops and alarms").asks(any),
        word("version", "Version and host").asks(any),
        word("tech-support", "All of it, without secrets, for those who help")
            .asks(views::tech_support)
            .admin(),
        word("privileges", "What the appliance's process may still do").asks(views::privileges),
    ])
}

fn service() -> Node {
    word("l2vpn", "The L2 VPN service: tunnels to sites").asks(views::service).then([
        word("bridge", "Interfaces and learned MAC addresses").asks(views::bridge),
        word("conversion-table", "Which VLAN or VNI each tunnel ID is").asks(views::conversion_table),
        word("trunk-table", "Sub-interfaces of each trunk").asks(views::trunk_table),
        word("site", "All about one site").then([site_name().asks(any)]),
        word("statistics", "Counters under the names that NSX has for them").asks(views::statistics).then([
            word("site", "Only of a site").then([site_name().asks(views::statistics)]),
            word("segment", "Only of a segment").then([segment_name().asks(views::statistics)]),
        ]),
    ])
}

fn clear() -> Node {
    word("clear", "Forget what was counted, learned or found")
        .then([
            word("counters", "Show counters from now on").asks(done),
            word("mac-table", "Forget MAC addresses: all, or those that fit")
                .asks(done)
                .with(mac_filters(false)),
            word("sessions", "End sessions, which log in anew").asks(done).then([site_name().asks(done)]),
            word("neighbours", "Forget the IP addresses that are answered for").asks(done),
            word("loops", "Listen for loops anew").asks(done),
            word("duplicates", "Let addresses that are used in several places move again")
                .asks(done)
                .then([value("MAC", Arg::Mac, "Only this one").asks(done)]),
        ])
        .admin()
}

fn debug() -> Node {
    let minutes =
        word("minutes", "For how long").then([value("N", Arg::Number(1, 240), "So many minutes").asks(done)]);
    word(
        "debug",
        "More in the log for a while, whatever becomes of this console: 10 minutes unless said otherwise",
    )
    .then([
        word("off", "As it is normally").asks(done),
        value("MODULE", Arg::Word, "control, session, pipeline, worker ...; all")
            .then([level().asks(done).then([minutes])]),
    ])
    .admin()
}

fn level() -> Node {
    value("LEVEL", Arg::Choice(&["error", "warn", "info", "debug", "trace"]), "error is the least, trace all")
}

fn port_name() -> Node {
    value("NAME", Arg::Port, "The port's name")
}

fn explain() -> Node {
    let mac = |help| value("MAC", Arg::Mac, help);
    let frame = [
        word("src", "Its source; needed").then([mac("The address")]).needed(),
        word("dst", "Its destination; needed").then([mac("The address")]).needed(),
        word("ip", "An IP packet, or to all an ARP request").then([value(
            "ADDRESS",
            Arg::Ip,
            "To this address",
        )]),
        word("size", "How long it is: 60 octets unless said otherwise").then([value(
            "OCTETS",
            Arg::Number(14, MAX_FRAME),
            "From its destination address on",
        )]),
        word("port", "It comes in on a port; else where its source was seen").then([port_name()]),
        word("from", "It comes from a site").then([site_name()]),
    ];
    word("explain", "What becomes of a frame, step by step, here and at the other end").then([
        word("segment", "A frame in a segment").then([segment_name().asks(views::explained).with(frame)]),
        word("live", "The next frame that comes, on a trunk port or from a site")
            .asks(views::explained)
            .goes_on(expression),
    ])
}

fn capture() -> Node {
    let limits = [
        word("count", "End after so many").then([value(
            "N",
            Arg::Number(1, 1_000_000_000),
            "So many frames",
        )]),
        word("seconds", "End after so long: 10 minutes unless said otherwise").then([value(
            "N",
            Arg::Number(1, 31_536_000),
            "So many seconds",
        )]),
        word("snap", "Read so much of each").then([value(
            "OCTETS",
            Arg::Number(1, MAX_FRAME),
            "So many octets",
        )]),
    ];
    let of_session = [
        word("inside", "Frames that go into its tunnel and come out of it").asks(any).goes_on(expression),
        word("outside", "Its records as datagrams").asks(any).goes_on(expression),
        word("records", "Its records, opened").asks(any),
    ];
    let reason = value("REASON", Arg::Reason, "Only for this reason").asks(any).goes_on(expression);
    let points = [
        word("port", "What a port receives and sends").then([port_name().asks(any).goes_on(expression)]),
        word("segment", "Frames where they enter a segment")
            .then([segment_name().asks(any).goes_on(expression)]),
        word("session", "Frames or records of a site")
            .then([site_name().asks(any).then(of_session).goes_on(expression)]),
        word("drops", "What is dropped, and why").asks(any).then([reason]).goes_on(expression),
    ];
    word("capture", "Frames as they pass, a line for each; ^C ends it")
        .then([word("lines", "A line for each frame").with(limits).then(points)])
        .admin()
}

fn mac_filters(with_limit: bool) -> Vec<Node> {
    let limit = word("limit", "How many are shown").then([value("N", Arg::Number(1, 100_000), "So many")]);
    let filters = [
        word("segment", "Only of a segment").then([segment_name()]),
        word("site", "Only behind a site").then([site_name()]),
        word("port", "Only behind a port").then([port_name()]),
        word("mac", "Only this address").then([value("MAC", Arg::Mac, "The address")]),
    ];
    filters.into_iter().chain(with_limit.then_some(limit)).collect()
}
