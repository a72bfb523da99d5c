//! Where sysfs, procfs and the configuration of the system are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What answers a write to sysfs where no kernel does: it is told the file and the text. `systemctl` and what it is to do count as well.
pub type Kernel = fn(&Root, &str, &str);

/// The directory that stands for `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf, Option<Kernel>);

impl Root {
    /// A tree of files that stands for the machine's own.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into(), None)
    }

    /// The same with something that does what a kernel would do.
    pub fn answered_by(self, kernel: Kernel) -> Self {
        Self(self.0, Some(kernel))
    }

    /// Whether it is the machine's own.
    pub fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The path of a file inside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside.trim_start_matches('/'))
    }

    /// A file's text without white space around it; `None` when it is not there or not text.
    pub fn text(&self, inside: &str) -> Option<String> {
        fs::read_to_string(self.path(inside)).ok().map(|text| text.trim().to_owned())
    }

    /// The number in a file, decimal or with `0x`.
    pub fn number(&self, inside: &str) -> Option<i64> {
        let text = self.text(inside)?;
        match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// The names in a directory, in order; none when it is not there.
    pub fn list(&self, inside: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(inside)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to.
    pub fn link(&self, inside: &str) -> Option<String> {
        let target = fs::read_link(self.path(inside)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Whether something is there.
    pub fn has(&self, inside: &str) -> bool {
        self.path(inside).exists()
    }

    /// Writes to a file of sysfs or procfs, which must be there.
    pub(crate) fn poke(&self, inside: &str, text: &str) -> io::Result<()> {
        use std::io::Write;
        // Truncated, as a shell's `>` does it: the same for the kernel's files and for a tree of plain ones.
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path(inside))?
            .write_all(text.as_bytes())?;
        if let Some(kernel) = self.1 {
            kernel(self, inside, text);
        }
        Ok(())
    }

    /// Has systemd read its units anew, where it runs.
    pub(crate) fn reload_units(&self) -> io::Result<()> {
        const PROGRAM: &str = "systemctl";
        const WORD: &str = "daemon-reload";
        if !self.has("run/systemd/system") {
            return Ok(());
        }
        if let Some(kernel) = self.1 {
            kernel(self, PROGRAM, WORD);
        }
        if self.is_real() {
            let ended = Command::new(PROGRAM).arg(WORD).status()?;
            return if ended.success() { Ok(()) } else { Err(io::Error::other(ended.to_string())) };
        }
        Ok(())
    }
}
