//! The rules of the house (docs/architecture.md), as far as a machine can check them.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().expect("an array").iter()
}

/// A crate depends only on crates of lower floors; `dpdk` on `dpdk-sys` and `worker` on `dpdk` go down as well.
#[test]
fn dependencies_go_down() {
    let metadata = metadata();
    let floor = |package: &Value| package["metadata"]["causeway"]["floor"].as_u64();
    let floors: HashMap<&str, u64> = packages(&metadata)
        .filter(|package| package["manifest_path"].as_str().is_some_and(|path| path.contains("/crates/")))
        .map(|package| {
            let name = package["name"].as_str().expect("a name");
            (
                name,
                floor(package).unwrap_or_else(|| panic!("{name} has no [package.metadata.causeway] floor")),
            )
        })
        .collect();
    assert!(floors.len() > 10, "found the crates");
    for package in packages(&metadata) {
        let name = package["name"].as_str().expect("a name");
        let Some(own) = floors.get(name) else { continue };
        for dependency in package["dependencies"].as_array().expect("an array") {
            let needed = dependency["name"].as_str().expect("a name");
            if let Some(below) = floors.get(needed).filter(|_| dependency["kind"] != "dev") {
                assert!(below < own, "{name} (floor {own}) depends on {needed} (floor {below})");
            }
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = ["crates", "perf", "tests"].map(|name| root().join(name)).into();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("readable");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| ["rs", "py", "c"].iter().any(|e| extension == *e))
        {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.push((path, text));
        }
    }
    assert!(found.len() > 60, "found the sources");
    found
}

#[test]
fn unsafe_code_lives_where_it_is_needed_and_nowhere_else() {
    /// What speaks to C libraries and to the kernel, and the benchmark's clock and allocator.
    const MAY: &[&str] = &[
        "crates/confine/src/threads.rs",
        "crates/dpdk/",
        "crates/dpdk-sys/",
        "crates/ipsec-mb/",
        "crates/kernelport/src/mmsg.rs",
        "crates/kernelport/src/socket.rs",
        "perf/src/alloc.rs",
        "perf/src/clock.rs",
    ];
    let key = ["unsafe", " {"].concat();
    let allow = ["allow(", "unsafe_code"].concat();
    for (path, text) in sources() {
        let path = path.display().to_string();
        let may = MAY.iter().any(|place| path.contains(place));
        let crate_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        assert!(may || !text.contains(&key) && !text.contains(&allow), "{path} has unsafe code");
        if crate_root && path.contains("/crates/") && !may {
            // Where single files may, the crate denies, which they override.
            let forbids = ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"];
            assert!(forbids.iter().any(|line| text.contains(line)), "{path} does not forbid unsafe code");
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    const REASONED: &[&str] = &[];
    for (path, text) in sources() {
        let lines = text.lines().count();
        let path = path.display().to_string();
        let reasoned = REASONED.iter().any(|name| path.ends_with(name));
        assert!(lines <= 600 || reasoned, "{path} has {lines} lines");
    }
}

/// What the data path and the state machines must not know: time comes in as an argument, packets through traits.
#[test]
fn the_lower_floors_know_no_clock_and_no_socket() {
    for (path, text) in sources() {
        let path = path.display().to_string();
        let pure = ["wire", "record", "bridge", "pipeline", "guard", "session"];
        if pure.iter().any(|name| path.contains(&format!("crates/{name}/src/"))) {
            for word in ["Instant::now", "SystemTime::now", "UdpSocket", "TcpStream", "dpdk::"] {
                assert!(!text.contains(word), "{path} uses {word}");
            }
        }
    }
}
