//! docs/console.md, made from the command tree.

use std::fmt::Write;

use crate::commands;
use crate::expression::expression;
use crate::filter::FILTERS;
use crate::tree::{Node, Role};

/// The whole page.
pub fn reference() -> String {
    let mut out = String::from(INTRO);
    out += "\n## Filters\n\nBehind a command and `|`, one after the other:\n\n| filter | |\n| --- | --- |\n";
    for (name, help) in FILTERS {
        let _ = writeln!(out, "| `{name}` | {help} |");
    }
    out += "\nUp to four. What is looked for is text, or a regular expression of moderate size; in an answer of megabytes only text.\n";
    out += "\n## Commands\n\nWords in `<>` stand for values, those in `[]` may be left out and come in any order. *Admin* commands need that role.\n\n";
    table(&mut out, commands::root());
    out += FRAMES;
    for first in &expression().children {
        tests(&mut out, &[], first);
    }
    out += "\n## The configuration mode\n\n";
    out += CONFIGURE;
    table(&mut out, commands::configure());
    out
}

fn table(out: &mut String, root: &Node) {
    out.push_str("| command | | |\n| --- | --- | --- |\n");
    for node in &root.children {
        rows(out, &[], node);
    }
}

/// A row for each place where a command may end.
fn rows(out: &mut String, before: &[String], node: &Node) {
    let mut words = before.to_vec();
    words.push(node.shown());
    let options = node.options.iter().map(option);
    if node.does.is_some() {
        let mut command = [words.clone(), options.clone().collect()].concat().join(" ");
        if node.goes_on.is_some() {
            command += " [<FILTER>]";
        }
        let who = if node.role == Role::Admin { "admin" } else { "" };
        let _ = writeln!(out, "| `{}` | {} | {who} |", cell(&command), cell(node.help));
    } else {
        // They come before what has to follow.
        words.extend(options);
    }
    for child in &node.children {
        rows(out, &words, child);
    }
}

/// An option with its value.
fn option(option: &Node) -> String {
    let values = option.children.iter().map(Node::shown);
    let text = [option.shown()].into_iter().chain(values).collect::<Vec<_>>().join(" ");
    if option.needed { text } else { format!("[{text}]") }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A row for each test of a filter, and for what joins them.
fn tests(out: &mut String, before: &[String], node: &Node) {
    let words = [before, &[node.shown()]].concat();
    if node.ends || node.goes_on.is_some() {
        let _ = writeln!(out, "| `{}` | {} |", words.join(" "), cell(node.help));
    }
    for child in &node.children {
        tests(out, &words, child);
    }
}

const INTRO: &str = "\
# The console

<!-- Made from the command tree in crates/console: UPDATE_DOCS=1 cargo test -p console -->

The console is always there on the appliance's Unix socket, for who may open the file (mode 0660, owner and group of the appliance): that is an
admin. Over TCP it is there if the configuration says so, with users and passwords.

```
causeway console                                    # a terminal on /run/causeway/causeway.sock
causeway console -c 'show sessions|count'           # one command, for scripts
causeway console --connect hub:2323 --tls --fingerprint SHA256
telnet 127.0.0.1 2323                               # any telnet works
nc -U /run/causeway/causeway.sock                   # type `console`, then whole lines
```

`?` shows at every point what may follow, the tab key completes words and names, and words may be abbreviated as long as they mean one thing. Arrows,
Home, End, Control-A, -E, -K, -U, -W, -Y and -L edit the line, Control-P and -N go through the history, Control-C leaves a line, a command that takes its
time, or a long answer. Control-D ends, and so does a terminal that goes away; a capture, ping, test or `top` that goes on ends with it at once, where a script
gets its answer. Long answers come in pages of the window's size: space, Enter, `q`; `terminal length 0` turns pages off. A name
with blanks stands in double quotes. Lines that begin with `!` or `#` are comments.

## Users

```toml
[console]
listen = \"127.0.0.1:2323\"     # another address than loopback needs tls = true, certificate and key
idle_s = 600
max_sessions = 32

[[console.user]]
name = \"ann\"
role = \"admin\"                # or \"operator\", who looks and changes nothing
password_hash = \"$argon2id$...\"  # causeway passwd --console
```

Five wrong passwords make an address (of IPv6: a /64) wait 30 s, then twice as long each time, up to 15 min. No wrong password and no number of connections
reaches the console on the Unix socket. Passwords are checked on a thread of their own. Every command is written to the log with user, address and result
(target `audit`), without the values of secrets; what may change something also when it is asked. A reader that takes nothing for 30 s is let go; a login has 60 s;
who types nothing for `idle_s` is let go too, out of `top` as well. The log has when a console was opened, and when and why it was closed. Beyond `max_sessions`
connections are told so and closed; consoles on the Unix socket are not among them, and have 32 places of their own.
";

const FRAMES: &str = "
## Which frames

`<FILTER>` is made of these words, which may be abbreviated too. Behind a test `and` or `or` may follow and another one; behind a protocol also a test of addresses or ports: `tcp port 80`.
Parentheses may stand close to other words, and a part of a filter may stand in quotes. All look behind VLAN tags.

| test | |
| --- | --- |
";

const CONFIGURE: &str = "\
`configure` opens a candidate of the user's own. Nothing changes before `commit`, which checks the whole, puts it in force without disturbing what did not
change, and writes the file. `commit confirmed 5` goes back by itself unless `confirm` follows within 5 minutes. Keys and their values are those of
[configuration.md](configuration.md), as words: `set segment servers mtu 9000`, `set server site paris enabled false`. Keys may be abbreviated, names and values not. A candidate stays when its console
ends. Two consoles of one user have one candidate; `configure` and `commit` tell who else is in this mode, where from and since when.

";

#[cfg(test)]
mod tests {
    /// `UPDATE_DOCS=1 cargo test -p console` writes it anew.
    #[test]
    fn the_page_is_made_from_the_tree() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/console.md");
        let made = super::reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &made).expect("writable");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "docs/console.md is not what the tree says: UPDATE_DOCS=1 cargo test -p console"
        );
    }
}
