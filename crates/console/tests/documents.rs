//! What the documents say to type into a console is what the command tree knows.

use std::fs;
use std::path::{Path, PathBuf};

use console::tree::{Role, parse};
use console::{commands, words};

/// What stands in the documents for what the reader has to put there.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("MAC", "02:00:00:00:00:01"),
    ("ADDRESS", "10.0.0.1"),
    ("IP", "10.0.0.1"),
    ("N", "1"),
    ("MBITS", "1"),
    ("MINUTES", "1"),
    ("LINES", "1"),
    ("OCTETS", "100"),
    ("LEVEL", "info"),
    ("REASON", "hairpin"),
    ("FILTER", "arp"),
];

/// A page, a line of it, and what is to be typed.
type Found = (PathBuf, usize, String);

fn pages(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("readable").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "md"));
    files.chain(directories.iter().flat_map(|path| pages(path))).collect()
}

/// Everything in the documents that is a line for the console: behind `causeway` what it hands on, between backquotes, and in blocks.
fn lines() -> Vec<Found> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = pages(&root.join("docs"));
    pages.push(root.join("README.md"));
    // What was decided once is told as it was then.
    pages.retain(|page| !page.components().any(|part| part.as_os_str() == "decisions"));
    let mut found = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("readable");
        // Blocks in a language, and what is shown below a command, are no commands.
        let (mut block, mut plain) = (false, false);
        for (at, line) in text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                (block, plain) = (!block, !block && language.is_empty());
                continue;
            }
            let typed: Vec<&str> = if block {
                vec![line.trim()].into_iter().filter(|_| plain).collect()
            } else {
                // A bar in a table is written with a backslash.
                line.split('`').skip(1).step_by(2).collect()
            };
            let typed = typed.iter().map(|typed| typed.replace("\\|", "|"));
            found.extend(typed.map(|typed| (page.clone(), at + 1, typed)));
        }
    }
    found
}

/// The forms of a line: with each of the words that a bar stands between, and with and without what stands in brackets.
fn forms(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or("");
    if let Some((before, rest)) = line.split_once('[') {
        let (inside, after) = rest.split_once(']').unwrap_or((rest, ""));
        let with = inside.split(" | ").map(|inside| format!("{before}{inside}{after}"));
        return with.chain([format!("{before}{after}")]).flat_map(|line| forms(&line)).collect();
    }
    let mut all = vec![Vec::new()];
    // A filter stands behind the command.
    for word in words::split(line.split(" | ").next().unwrap_or("")) {
        let ways = word.split('|').map(|way| {
            let name = way.trim_matches(['<', '>']);
            PLACEHOLDERS.iter().find(|(known, _)| *known == name).map_or(name, |(_, value)| value).to_owned()
        });
        let ways: Vec<String> = ways.collect();
        all = all
            .iter()
            .flat_map(|before: &Vec<String>| {
                ways.iter().map(|way| [before.as_slice(), std::slice::from_ref(way)].concat())
            })
            .collect();
    }
    all
}

fn is_known(words: &[String]) -> Result<(), String> {
    let trees = [commands::root(), commands::configure()];
    let mut wrong =
        trees.map(|tree| parse(tree, words, Role::Admin).map(drop).map_err(|wrong| wrong.to_string()));
    match wrong.iter().any(Result::is_ok) {
        true => Ok(()),
        false => std::mem::replace(&mut wrong[0], Ok(())),
    }
}

#[test]
fn every_line_of_the_documents_is_a_command() {
    let firsts = [
        "show", "clear", "debug", "explain", "ping", "terminal", "site", "commit", "rollback", "set",
        "delete", "add",
    ];
    let (mut checked, mut wrong) = (0, Vec::new());
    for (page, at, typed) in lines() {
        // What `causeway` itself hands on to the tree is a command of the console; other commands of it are its own.
        let handed = typed
            .strip_prefix("causeway ")
            .filter(|rest| ["show ", "clear ", "explain "].iter().any(|first| rest.starts_with(first)));
        let Some(line) = handed.or((!typed.starts_with("causeway ")).then_some(typed.as_str())) else {
            continue;
        };
        let line = line.split(" --").next().unwrap_or("");
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or("");
        // A single word is a word of the text more often than a command.
        let second = words.next();
        let is_site = second.is_some_and(|word| word.starts_with("enable") || word.starts_with("disable"));
        let is_lines = first == "capture" && second == Some("lines");
        if !(firsts.contains(&first) || is_lines) || second.is_none() || (first == "site" && !is_site) {
            continue;
        }
        for form in forms(line) {
            checked += 1;
            if let Err(error) = is_known(&form) {
                wrong.push(format!("{}:{at}: {typed}: {error}", page.display()));
            }
        }
    }
    assert!(checked > 100, "found {checked} of them");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a page shows below a command is what the command prints.
#[test]
fn samples_look_as_the_views_print_them() {
    use console::render::views;
    use serde_json::json;

    let found = json!({
        "loops": [{
            "segment": "servers", "attachment": "underlay VNI 5010", "state": "blocked", "through": "server trunk0 VLAN 10",
            "broken_by": "us", "mac": "02:00:00:00:00:01", "since_s": 12.4, "seen_s": 0.1,
        }],
        "forwarding": 1, "listening": 0, "blocked": 1,
    });
    let neighbours = json!({
        "entries": [{
            "segment": "servers", "address": "10.10.0.2", "mac": "02:00:00:00:00:02", "where": "site branch", "age_s": 12.3,
        }],
        "answered": 5, "passed_on": 2,
    });
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tasks");
    for (page, printed) in
        [("loops.md", views::loops(&found)), ("neighbours.md", views::neighbours(&neighbours))]
    {
        let text = fs::read_to_string(tasks.join(page)).expect("readable");
        assert!(text.contains(&printed), "{page} has not\n{printed}");
    }
}
