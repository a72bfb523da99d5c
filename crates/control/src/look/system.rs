//! Version, configuration, and all of it in one answer for those who help.

use std::path::Path;

use console::tree::Node;
use serde_json::{Map, Value, json};
use session::Now;

use crate::clock::{Clock, utc_text};

/// `show version`.
pub(crate) fn version(clock: Clock, now: Now) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "arch": std::env::consts::ARCH,
        "host": read("/proc/sys/kernel/hostname"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "pid": std::process::id(),
        "started": utc_text(clock.unix_seconds(Now::ZERO)),
        "uptime_s": now.as_secs(),
    })
}

/// `show configuration [l2vpn]`: the file's text without the values of its secrets; `l2vpn`: only what is stretched and to whom.
pub(crate) fn configuration(file: &Path, l2vpn: bool) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let text = config::edit::mask(&text);
    let shown = if l2vpn { tables(&text, &["mode", "segment", "server", "client"]) } else { text };
    Ok(json!({ "file": file.display().to_string(), "text": shown }))
}

/// The parts of a TOML text whose tables have one of these first names, with the keys in front of all tables of these names.
fn tables(text: &str, names: &[&str]) -> String {
    let mut kept = String::new();
    let mut keeps: Option<bool> = None;
    for line in text.lines() {
        if let Some(header) = line.trim_start().strip_prefix('[') {
            let name = header.trim_start_matches('[').split(['.', ']']).next().unwrap_or("").trim();
            keeps = Some(names.contains(&name));
        }
        let is_kept =
            keeps.unwrap_or_else(|| line.split_once('=').is_some_and(|(key, _)| names.contains(&key.trim())));
        if is_kept {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// `show tech-support`: what each of the console's other `show` commands shows, of those that can be asked without a value.
pub(crate) fn tech_support(mut show: impl FnMut(&[&str]) -> Result<Value, String>) -> Value {
    let part = |words: Vec<&'static str>| {
        let name = words.join(" ");
        (name, show(&words).unwrap_or_else(|error| json!({ "error": error })))
    };
    let parts: Map<String, Value> = parts().into_iter().map(part).collect();
    json!({ "parts": parts })
}

/// The words of each part.
fn parts() -> Vec<Vec<&'static str>> {
    let mut found = Vec::new();
    let shows = console::commands::root().children.iter().filter(|node| node.word == "show");
    shows.flat_map(|show| &show.children).for_each(|node| ends(node, &[], &mut found));
    // Itself, and what the live view draws from, which others show too.
    found.retain(|words| !matches!(words[..], ["tech-support" | "top"]));
    for words in &mut found {
        if words[..] == ["log"] {
            words.extend(["limit", "1000"]);
        }
    }
    found
}

/// Every command from here on that has no value in it.
fn ends(node: &Node, before: &[&'static str], found: &mut Vec<Vec<&'static str>>) {
    if node.arg.is_some() {
        return;
    }
    let words = [before, &[node.word]].concat();
    if node.does.is_some() {
        found.push(words.clone());
    }
    node.children.iter().for_each(|child| ends(child, &words, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_all_that_can_be_shown() {
        let names: Vec<String> = parts().iter().map(|words| words.join(" ")).collect();
        for name in
            ["alarms", "certificate", "debug", "loops", "neighbours", "privileges", "service l2vpn bridge"]
        {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
        assert!(names.contains(&"log limit 1000".into()) && !names.contains(&"tech-support".into()));
    }

    #[test]
    fn only_what_is_stretched() {
        let text = "\
mode = \"client\"
[system]
log = \"json\"
[client]
password_file = \"site.password\"
[[console.user]]
password_hash = \"$argon2id$\"
[[segment]]
name = \"a\"
";
        let l2vpn = tables(text, &["mode", "segment", "client"]);
        assert!(l2vpn.starts_with("mode = \"client\"\n[client]\n") && l2vpn.contains("name = \"a\""));
        assert!(!l2vpn.contains("json") && !l2vpn.contains("argon2id"), "{l2vpn}");
    }
}
