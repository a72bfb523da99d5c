use std::path::Path;

use super::*;

const TEXT: &str = r#"# The hub of the lab.
mode = "server"

[[port]]
name = "trunk0"   # towards the hosts
role = "trunk"
device = "kernel:eth1"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"

# Everybody's.
[[segment]]
name = "servers"
tunnel_id = 10
mtu = 1500        # as on the LAN
[[segment.attachment]]
port = "trunk0"
vlan = 10

[[segment]]
name = "voice"
tunnel_id = 11

[server]
[[server.site]]
user = "branch"
verifier = "SCRAM-SHA-256$secret"
segments = ["servers"]
"#;

fn candidate() -> Candidate {
    Candidate::new(Path::new("a.toml"), TEXT).expect("TOML")
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn edited(lines: &[&str]) -> Candidate {
    let mut candidate = candidate();
    for line in lines {
        let all = words(line);
        let done = match all[0] {
            "set" => candidate.set(&all[1..]),
            "add" => candidate.add(&all[1..]),
            _ => candidate.delete(&all[1..]),
        };
        done.unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    candidate
}

#[test]
fn values_change_and_comments_stay() {
    let text = edited(&["set segment servers mtu 9000", "set site branch enabled false"]).text();
    let expected = TEXT
        .replace("mtu = 1500        # as", "mtu = 9000        # as")
        .replace("segments = [\"servers\"]\n", "segments = [\"servers\"]\nenabled = false\n");
    assert_eq!(text, expected);
}

#[test]
fn tables_come_and_go() {
    let changed = edited(&[
        "set segment guests tunnel_id 12 mtu 1400",
        "set segment guests attachment trunk0 vlan 12",
        "set segment guests attachment trunk0#2 vlan 13",
        "set segment guests gateway addresses 10.12.0.1/24 fd12::1/64",
        "set segment guests gateway routes 10.99.0.0/16 via 10.12.0.2",
    ]);
    let config = changed.check().unwrap_or_else(|errors| panic!("{errors}\n{}", changed.text()));
    let guests = &config.segments[2];
    assert_eq!((guests.name.as_str(), guests.mtu, guests.attachments.len()), ("guests", 1400, 2));
    assert_eq!(
        guests.gateway.as_ref().map(|gateway| (gateway.addresses.len(), gateway.routes.len())),
        Some((2, 1))
    );
    let mut back = changed.clone();
    back.delete(&["segment", "guests"]).expect("there");
    assert_eq!(back.text(), TEXT);
    back.delete(&["segment", "servers", "attachment", "trunk0"]).expect("there");
    assert!(!back.text().contains("attachment"), "{}", back.text());
}

#[test]
fn one_encapsulation_takes_the_place_of_another() {
    let text = edited(&["set segment servers attachment trunk0 untagged true"]).text();
    assert!(text.contains("untagged = true") && !text.contains("vlan"), "{text}");
}

#[test]
fn lists_grow_and_shrink() {
    let segments = |lines: &[&str]| {
        let text = edited(lines).text();
        text.lines().find(|line| line.starts_with("segments")).map(str::to_owned)
    };
    assert_eq!(
        segments(&["add site branch segments voice"]).as_deref(),
        Some("segments = [\"servers\", \"voice\"]")
    );
    assert_eq!(segments(&["set site branch segments voice"]).as_deref(), Some("segments = [\"voice\"]"));
    assert_eq!(segments(&["delete site branch segments servers"]), None);
    assert_eq!(
        edited(&["set server ciphers aes-256-gcm", "set system workers 2 3"]).text(),
        TEXT.replace("[server]\n", "[server]\nciphers = [\"aes-256-gcm\"]\n")
            + "\n[system]\nworkers = [2, 3]\n"
    );
}

#[test]
fn what_cannot_be_is_told_and_changes_nothing() {
    for (line, told) in [
        ("set segment servers mtu 67", "67 is out of range for mtu: 68 to 9500"),
        ("set segment servers mtu x", "\"x\" is nothing for mtu"),
        ("set segment servers mtu", "mtu needs a value"),
        ("set segment servers mtu 1500 vlan 3", "\"vlan\" is too much"),
        ("set segment servers color red", "there is no \"color\" here; there are: name, tunnel_id"),
        ("set segment", "which segment? Its name comes next"),
        ("set server ciphers NULL-SHA256", "is nothing for ciphers"),
        ("set site branch enabled maybe", "true or false"),
        ("set segment servers attachment trunk0#3 vlan 4", "there is no trunk0#2 yet"),
        ("set system", "what of it?"),
        ("add segment servers mtu 3", "only lists"),
        ("delete segment nobody", "there is no segment nobody"),
        ("delete segment servers max_macs", "there is no segment servers max_macs"),
        ("delete site branch segments voice", "\"voice\" is not in segments"),
        ("set nonsense 1", "there is no \"nonsense\" here"),
    ] {
        let mut candidate = candidate();
        let all = words(line);
        let done = match all[0] {
            "set" => candidate.set(&all[1..]),
            "add" => candidate.add(&all[1..]),
            _ => candidate.delete(&all[1..]),
        };
        let error = done.expect_err(line).to_string();
        assert!(error.contains(told), "{line}: {error}");
        assert_eq!(candidate.text(), TEXT, "{line}");
    }
}

#[test]
fn differences_and_parts_are_shown_without_secrets() {
    let changed = edited(&["set segment servers mtu 9000", "set site branch verifier SCRAM-SHA-256$other"]);
    let diff = changed.compare(TEXT);
    assert!(
        diff.contains("-mtu = 1500        # as on the LAN\n+mtu = 9000        # as on the LAN\n"),
        "{diff}"
    );
    assert!(diff.contains("+verifier = \"********\"\n") && !diff.contains("SCRAM"), "{diff}");
    assert!(candidate().compare(TEXT).is_empty());
    assert!(!changed.show(&[]).expect("all").contains("SCRAM"));
    assert_eq!(changed.show(&["segment", "voice"]).expect("there"), "name = \"voice\"\ntunnel_id = 11\n");
    assert_eq!(
        changed.show(&["segment", "servers", "mtu"]).expect("there").trim(),
        "mtu = 9000        # as on the LAN"
    );
    assert!(changed.show(&["segment", "nobody"]).is_err());
}

/// Wherever TOML lets a secret stand.
const SECRETS: &str = r#"
[client]
password = """
hunter2
hunter3"""
'password' = 'hunter4'
# password = "hunter5"
proxy = { url = "http://p:1", password = "hunter6" } # was: password="hunter7"
[console]
user = [{ name = "ann", password_hash = "$hunter8" }, { name = "bob", "password_hash" = "$hunter9" }]
#[[console.user]]
#password_hash = '$hunter10'
[other]
client.password = "hunter11"
password_file = "site.password" # the password of the site
"#;

#[test]
fn secrets_are_hidden_wherever_they_stand() {
    let text = SECRETS.replace("'password' = 'hunter4'\n", "");
    for shown in [
        mask(&text),
        mask(&SECRETS.replace("\"\"\"\nhunter2\nhunter3\"\"\"", "'x'").replace("'password'", "'verifier'")),
    ] {
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(
            shown.contains("proxy = { url = \"http://p:1\", password = \"********\" } # ********\n"),
            "{shown}"
        );
        assert!(shown.contains("password_file = \"site.password\" # the password of the site\n"), "{shown}");
    }
    assert_eq!(mask(TEXT), TEXT.replace("SCRAM-SHA-256$secret", "********"), "all else is as it was");
    assert!(!mask("password = \"hunter2").contains("hunter"), "no TOML");
    // A difference tells which secrets are different, and nothing of what they are.
    let diff = compare("a", &text, "b", &text.replace("hunter8", "other").replace("hunter5", "other"));
    assert!(!diff.contains("hunter") && !diff.contains("other\"") && !diff.contains('\u{e000}'), "{diff}");
    assert_eq!(diff.matches("\n+").count(), 3, "two lines and the name: {diff}");
    assert!(diff.contains("\n-# ********\n+# ********\n"), "{diff}");
}

#[test]
fn commands_are_told_without_secrets() {
    for (line, told) in [
        ("site branch verifier hunter2", "site branch verifier ********"),
        ("client password hunter2 user ann", "client password ******** user ann"),
        ("client password correct horse", "client password ******** ********"),
        ("client pasword hunter2 user ann", "client pasword ******** ******** ********"),
        ("segment servers mtu 9000 vlan 5", "segment servers mtu 9000 vlan ********"),
        ("site branch segments servers voice", "site branch segments servers voice"),
        ("segment", "segment"),
        ("site branch", "site branch"),
        ("frobnicate hunter2", "frobnicate ********"),
    ] {
        assert_eq!(masked(&words(line)).join(" "), told, "{line}");
    }
}

#[test]
fn faults_do_not_tell_secrets() {
    let verifier = "set site branch verifier hunter2";
    let mut mine = edited(&[verifier]);
    let theirs = edited(&["set site branch verifier hunter3"]).text();
    let told = [
        mine.merge(&theirs).expect_err("both changed it"),
        candidate().set(&words("site branch verifier correct hunter2")).expect_err("too much"),
        candidate().delete(&words("site branch verifier hunter2")).expect_err("it is another"),
        candidate().delete(&words("client password hunter2")).expect_err("there is none"),
        candidate().show(&words("site branch verifier hunter2")).expect_err("too much"),
    ];
    for told in told.map(|told| told.to_string()) {
        assert!(
            !told.contains("hunter") && (told.contains("verifier") || told.contains("password")),
            "{told}"
        );
    }
}

#[test]
fn changes_of_others_are_merged_or_told() {
    let mut mine = edited(&["set segment servers mtu 9000"]);
    let theirs = edited(&["set segment voice mtu 1400", "set segment guests tunnel_id 12"]).text();
    mine.merge(&theirs).expect("no conflict");
    assert!(mine.text().contains("9000") && mine.text().contains("1400") && mine.text().contains("guests"));
    assert_eq!(mine.base(), theirs);

    let mut mine = edited(&["set segment servers mtu 9000"]);
    let before = mine.text();
    let theirs = edited(&["set segment servers mtu 1400"]).text();
    let told = mine.merge(&theirs).expect_err("both changed it").to_string();
    assert!(told.contains("changed here and by somebody else: segment servers mtu 9000"), "{told}");
    assert_eq!(mine.text(), before);
    let mut mine = edited(&["delete segment voice"]);
    let theirs = edited(&["set segment voice mtu 1400"]).text();
    assert!(mine.merge(&theirs).is_err(), "deleted here, changed there");
}

#[test]
fn the_next_word_is_known() {
    let candidate = candidate();
    let hints = |line: &str| -> Vec<String> {
        let all = if line.is_empty() { Vec::new() } else { words(line) };
        complete(&candidate, &all).into_iter().map(|hint| hint.word).collect()
    };
    assert_eq!(
        hints(""),
        [
            "mode",
            "system",
            "port",
            "loop_guard",
            "duplicate_mac",
            "metrics",
            "console",
            "segment",
            "server",
            "client",
            "site"
        ]
    );
    assert_eq!(hints("segment"), ["servers", "voice", "<name>"]);
    assert!(hints("segment servers").contains(&"mtu".to_owned()));
    assert_eq!(hints("segment servers mtu"), ["<68 to 9500>"]);
    assert!(hints("segment servers mtu 1500").contains(&"mss_clamp".to_owned()));
    assert_eq!(hints("segment servers mtu 1500 mss_clamp"), ["true", "false"]);
    assert_eq!(hints("segment voice attachment"), ["trunk0", "wan"]);
    assert_eq!(hints("site"), ["branch", "<user>"]);
    assert_eq!(hints("site branch segments"), ["servers", "voice"]);
    assert_eq!(hints("mode"), ["server", "client"]);
    assert!(hints("nonsense").is_empty() && hints("nonsense x").is_empty());
}

#[test]
fn keys_may_be_abbreviated_and_names_not() {
    for (typed, full) in [
        ("seg servers mt 9000 tun 12", "segment servers mtu 9000 tunnel_id 12"),
        ("seg mtu mt 9000", "segment mtu mtu 9000"),
        ("si br desc x", "site br description x"),
        ("ser sit br seg se", "server site br segments se"),
        ("seg servers att trunk0 vl 12", "segment servers attachment trunk0 vlan 12"),
        ("se x", "se x"),
        ("segment servers m 9", "segment servers m 9"),
        ("segment servers color red", "segment servers color red"),
    ] {
        assert_eq!(in_full(&words(typed)).join(" "), full, "{typed}");
    }
    assert_eq!(in_full(&["", "x"]), ["", "x"]);
}
