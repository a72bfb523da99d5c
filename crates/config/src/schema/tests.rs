//! The table of keys, the reader and the document say the same.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::reader::Document;

/// Both together reach every table that the reader knows.
const SERVER: &str = r#"
mode = "server"
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:eth1"
[port.vtep]
local = "10.0.0.1"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "trunk0"
vlan = 10
[segment.gateway]
addresses = ["10.0.0.2/24"]
routes = [{ to = "10.9.0.0/16", via = "10.0.0.9" }]
[[console.user]]
name = "alice"
role = "admin"
[server]
[[server.share]]
to = "127.0.0.1:8443"
default = true
[[server.site]]
user = "branch"
verifier = "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA"
"#;

const CLIENT: &str = "mode = \"client\"\n[client]\nserver = \"a\"\nuser = \"b\"\npassword = \"c\"\nca = \"d\"\n\
[client.proxy]\naddress = \"p:1\"\nuser = \"x\"\npassword = \"y\"\n";

/// What the reader asks for in these files, by table and key.
fn wanted() -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    let pinned = CLIENT.replace("ca =", "fingerprint =");
    for (text, of) in [(SERVER, "server"), (CLIENT, "client"), (&pinned, "client")] {
        let document = Document::parse(Path::new("a.toml"), text).expect("TOML");
        crate::read(&document.root(), Path::new("/"));
        let other = if of == "server" { "client" } else { "server" };
        let wanted = document.wanted.take();
        all.extend(wanted.into_iter().filter(|((table, _), _)| !table.starts_with(other)));
    }
    all
}

/// What the table of keys says of them.
fn known(path: &str, keys: &'static [Key], all: &mut BTreeMap<(String, String), String>) {
    for key in keys {
        let shape = match &key.kind {
            Kind::Text(_) | Kind::Choice(_) => "a string".into(),
            Kind::Texts(_) | Kind::Choices(_) => "list of strings".into(),
            Kind::OneOrMore(_) => "one or more".into(),
            Kind::Table(_) => "a table".into(),
            Kind::Tables { .. } => "a list of tables ([[...]])".into(),
            kind => kind.shape(),
        };
        all.insert((path.into(), key.name.into()), shape);
        if let Some(inside) = key.kind.keys() {
            let path = if path.is_empty() { key.name.into() } else { format!("{path}.{}", key.name) };
            known(&path, inside, all);
        }
    }
}

#[test]
fn the_table_of_keys_is_what_the_reader_asks_for() {
    let wanted = wanted();
    let mut table = BTreeMap::new();
    known("", ROOT, &mut table);
    let mut wrong = Vec::new();
    for ((path, key), shape) in &wanted {
        match table.get(&(path.clone(), key.clone())) {
            None => wrong.push(format!("{path}.{key} ({shape}) is read, but is not in src/schema/tables.rs")),
            Some(known) if known != shape => {
                wrong.push(format!("{path}.{key} is read as {shape}, but the table says {known}"))
            }
            Some(_) => {}
        }
    }
    for (path, key) in table.keys().filter(|at| !wanted.contains_key(*at)) {
        wrong.push(format!(
            "{path}.{key} is in src/schema/tables.rs, but is not read (or no file of this test reaches it)"
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_lead_to_keys_that_are_there() {
    fn look(keys: &'static [Key]) {
        for key in keys {
            assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}: {:?}", key.name, key.help);
            assert!(key.instead_of.iter().all(|other| find(keys, other).is_some()), "{}", key.name);
            if let Kind::Tables { by, keys } = &key.kind {
                assert!(find(keys, by).is_some_and(|by| matches!(by.kind, Kind::Text(_))), "{}", key.name);
            }
            look(key.kind.keys().unwrap_or_default());
        }
    }
    look(ROOT);
}

/// `UPDATE_DOCS=1 cargo test -p config` writes it anew.
#[test]
fn the_reference_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let made = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("writable");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/configuration.md is not what the table says: UPDATE_DOCS=1 cargo test -p config"
    );
}
