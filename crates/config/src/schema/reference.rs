//! docs/configuration.md, made from the table of keys.

use std::fmt::Write;

use super::{Key, Kind, ROOT};

/// The reference of all keys in Markdown.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    section(&mut out, "", ROOT, false);
    out
}

const INTRODUCTION: &str = "\
# Configuration reference

One TOML file describes an appliance. `causeway check -c FILE` names file, line and key of every fault; keys that are not known are
faults. Relative paths are relative to the file's directory. In the console, `set` takes the same keys as words: `[[segment]]` with
`name = \"servers\"` and `mtu = 9000` is `set segment servers mtu 9000`, and a `[[server.site]]` is `site NAME`.

This page is made from the program's own table of keys; a test holds the two together.
";

fn section(out: &mut String, path: &str, keys: &'static [Key], many: bool) {
    if !path.is_empty() {
        let heading = if many { format!("[[{path}]]") } else { format!("[{path}]") };
        let _ = write!(out, "\n## `{heading}`\n");
    }
    out.push_str("\n| key | value | without it | |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let shape = match &key.kind {
            Kind::Table(_) => format!("[table](#{})", anchor(path, key.name)),
            Kind::Tables { by, .. } => format!("[tables](#{}), found by `{by}`", anchor(path, key.name)),
            kind => kind.shape(),
        };
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let instead: Vec<String> = key.instead_of.iter().map(|other| format!("`{other}`")).collect();
        let mut help = key.help.to_owned();
        if !instead.is_empty() {
            help += &format!("; not with {}", instead.join(", "));
        }
        let _ = writeln!(out, "| `{}` | {shape} | {default} | {help} |", key.name);
    }
    for key in keys {
        if let Some(inside) = key.kind.keys() {
            section(out, &join(path, key.name), inside, matches!(key.kind, Kind::Tables { .. }));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// GitHub's anchor of a heading: brackets and dots fall away.
fn anchor(path: &str, name: &str) -> String {
    join(path, name).replace('.', "")
}
