//! The package's service: the user that it runs as, and what that user may read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Root, setup};

/// The user that the package makes for it.
const USER: &str = "causeway";

/// The unit, as the package installs it.
pub const UNIT: &str = "lib/systemd/system/causeway.service";

/// A user with its groups.
struct User {
    uid: u32,
    gids: Vec<u32>,
}

impl User {
    /// The service's; `None` where the package is not installed, or the service runs as root.
    fn of_service(root: &Root) -> Option<Self> {
        if !root.has(UNIT) || root.has(setup::DROP_IN) {
            return None;
        }
        let users = root.text("etc/passwd")?;
        let fields: Vec<&str> = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(USER)).then(|| fields.collect()))?;
        let (uid, gid) = (fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?);
        let mut gids = vec![gid];
        for group in root.text("etc/group").unwrap_or_default().lines() {
            if let [_, _, number, members] = group.split(':').collect::<Vec<_>>()[..] {
                if members.split(',').any(|member| member == USER) {
                    gids.extend(number.parse::<u32>());
                }
            }
        }
        Some(Self { uid, gids })
    }

    /// Whether the mode of a file gives it `bit` of `rwx`.
    fn may(&self, bit: u32, path: &Path) -> bool {
        // What cannot be looked at is not judged.
        let Ok(found) = fs::metadata(path) else { return true };
        let shift = match () {
            () if found.uid() == self.uid => 6,
            () if self.gids.contains(&found.gid()) => 3,
            () => 0,
        };
        found.mode() >> shift & bit != 0
    }
}

/// Those of `files` that the user of the package's service cannot read, by their modes and those of the directories above. None where there
/// is no such service.
pub fn unreadable(root: &Root, files: &[PathBuf]) -> Vec<PathBuf> {
    let Some(user) = User::of_service(root) else { return Vec::new() };
    let top = root.path("");
    let can_read = |file: &PathBuf| {
        let mut above = file.ancestors().skip(1).take_while(|directory| directory.starts_with(&top));
        user.may(0o4, file) && above.all(|directory| user.may(0o1, directory))
    };
    files.iter().filter(|file| !can_read(file)).cloned().collect()
}

/// What makes a file readable for it.
pub fn remedy(file: &Path) -> String {
    let file = file.display();
    format!("chgrp {USER} {file}; chmod g+r {file}; and the directories above have to be open to it (g+x)")
}
