//! The versions of the configuration that were in force, in `history/` of the state directory, and the note of a commit that nobody has
//! confirmed yet, beside the configuration itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::write_atomic;
use pki::date;
use serde::{Deserialize, Serialize};

use crate::certificates::private_directory;

/// Versions that are kept.
const KEPT: usize = 20;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// When it came in force, and who did it.
    pub(crate) note: String,
    file: PathBuf,
}

/// All versions that are kept.
#[derive(Clone, Debug)]
pub(crate) struct History {
    directory: PathBuf,
}

impl History {
    /// Those of the configuration in `file`: appliances that share a directory do not share versions.
    pub(crate) fn new(state: &Path, file: &Path) -> Self {
        Self { directory: state.join("history").join(file.file_stem().unwrap_or_default()) }
    }

    /// Newest first: the first is in force.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| number(path).is_some())
            .collect();
        files.sort();
        files.reverse();
        let note = |file: &PathBuf| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned()
        };
        files.into_iter().map(|file| Version { note: note(&file), file }).collect()
    }

    /// The text of a version.
    pub(crate) fn text(&self, version: &Version) -> io::Result<String> {
        let text = fs::read_to_string(&version.file)?;
        Ok(text.split_once('\n').map_or(String::new(), |(_, text)| text.to_owned()))
    }

    /// Keeps a text as the newest version, unless the newest is the same. The oldest go.
    pub(crate) fn keep(&self, text: &str, who: &str, unix: i64) -> io::Result<()> {
        let versions = self.versions();
        if let Some(newest) = versions.first() {
            if self.text(newest)? == text {
                return Ok(());
            }
        }
        private_directory(&self.directory)?;
        let next = versions.first().and_then(|newest| number(&newest.file)).unwrap_or(0) + 1;
        let who: String = who.chars().filter(|c| !c.is_control()).collect();
        let content = format!("# {} by {who}\n{text}", date(unix));
        write_atomic(&self.directory.join(format!("{next:06}.toml")), content.as_bytes(), 0o600)?;
        for old in versions.iter().skip(KEPT - 1) {
            // What cannot be removed is tried again at the next commit.
            let _ = fs::remove_file(&old.file);
        }
        Ok(())
    }

    /// Takes back the newest version, if it has this text.
    pub(crate) fn take_back(&self, text: &str) {
        if let Some(newest) = self.versions().first() {
            if self.text(newest).is_ok_and(|newest| newest == text) {
                let _ = fs::remove_file(&newest.file);
            }
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".toml")?.parse().ok()
}

/// A commit that goes back by itself if nobody confirms it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Until when, in seconds since 1970.
    pub until: i64,
    /// Who did it.
    pub who: String,
    /// What was in force before.
    pub before: String,
}

impl Unconfirmed {
    fn path(config: &Path) -> PathBuf {
        let name = config.file_name().unwrap_or_default().to_string_lossy();
        config.with_file_name(format!(".{name}.unconfirmed"))
    }

    /// What waits for being confirmed beside this configuration.
    pub fn read(config: &Path) -> Option<Self> {
        let text = fs::read(Self::path(config)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Notes it on the disk, so that a restart knows.
    pub(crate) fn write(&self, config: &Path) -> io::Result<()> {
        write_atomic(&Self::path(config), &serde_json::to_vec(self)?, 0o600)
    }

    /// It was confirmed, or has gone back.
    pub fn forget(config: &Path) {
        // It may not be there.
        let _ = fs::remove_file(Self::path(config));
    }

    /// Puts back what was in force before. For a start: a running appliance does more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn go_back(&self, config: &Path) -> io::Result<()> {
        write_atomic(config, self.before.as_bytes(), 0o600)?;
        Self::forget(config);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_versions_are_kept_and_none_twice() {
        let state = std::env::temp_dir().join(format!("causeway-history-{}", std::process::id()));
        let history = History::new(&state, Path::new("/etc/a.toml"));
        for at in 0..25 {
            for _ in 0..2 {
                history.keep(&format!("a = {at}\n"), "ann\u{1b} from local", 951_782_400).expect("kept");
            }
        }
        let versions = history.versions();
        assert_eq!(versions.len(), KEPT);
        assert_eq!(history.text(&versions[0]).expect("there"), "a = 24\n");
        assert_eq!(history.text(&versions[19]).expect("there"), "a = 5\n");
        assert_eq!(versions[0].note, "2000-02-29 00:00:00Z by ann from local");
        history.take_back("a = 3\n");
        assert_eq!(history.versions().len(), KEPT);
        history.take_back("a = 24\n");
        assert_eq!(history.text(&history.versions()[0]).expect("there"), "a = 23\n");
        fs::remove_dir_all(&state).expect("removed");
    }
}
