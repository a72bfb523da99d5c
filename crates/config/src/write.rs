//! Writes a file so that there is always a whole one: the old or the new.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Writes `content` to `path` by way of a file beside it: written, flushed to the disk, then renamed. Whoever reads meanwhile, or after
/// a power cut, has the old file or the new. `mode` is for a new file; an old one's mode and owner are kept.
///
/// # Errors
/// The system refuses a step, a full disk for one; then the old file is as it was.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    PreparedFile::new(path, content, mode)?.commit()
}

/// A new file that is on the disk, beside the one whose place it is to take. Goes away if it does not.
#[derive(Debug)]
pub struct PreparedFile {
    path: PathBuf,
    directory: PathBuf,
    beside: PathBuf,
}

impl PreparedFile {
    /// Writes the new file.
    ///
    /// # Errors
    /// The system refuses, a full disk for one.
    pub fn new(path: &Path, content: &[u8], mode: u32) -> io::Result<Self> {
        // A link keeps on pointing to the file.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let old = fs::metadata(&path).ok();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
        let beside = directory.join(format!(".{name}.{}.new", std::process::id()));
        let prepared = Self { path, directory, beside };
        write_beside(&prepared.beside, content, old.as_ref(), mode)?;
        Ok(prepared)
    }

    /// Puts it in the old one's place.
    ///
    /// # Errors
    /// The system refuses; then the old file is as it was.
    pub fn commit(self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)?;
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        // It has taken the other's place, or is of no use.
        let _ = fs::remove_file(&self.beside);
    }
}

fn write_beside(path: &Path, content: &[u8], old: Option<&fs::Metadata>, mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody else may read it before it has its final mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if let Some(old) = old {
        // Only root may give files away; for others the file is theirs already.
        let _ = chown(path, Some(old.uid()), Some(old.gid()));
    }
    let mode = old.map_or(mode, |old| old.mode() & 0o7777);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_kept_and_failures_leave_nothing_behind() {
        let directory = std::env::temp_dir().join(format!("causeway-write-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("a.toml");
        write_atomic(&path, b"one", 0o600).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changed");
        let link = directory.join("link.toml");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        write_atomic(&link, b"two", 0o600).expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        // No file can be made there.
        assert!(write_atomic(Path::new("/proc/nothing/a.toml"), b"three", 0o600).is_err());
        assert_eq!(fs::read_dir(&directory).expect("readable").count(), 2);
        fs::remove_dir_all(&directory).expect("removed");
    }
}
