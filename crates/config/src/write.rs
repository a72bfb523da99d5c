//! Writes a file so that there is always a whole one: the old or the new.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Writes `content` to `path` by way of a file beside it: written, flushed to the disk, then renamed. Whoever reads meanwhile, or after
/// a power cut, has the old file or the new. `mode` is for a new file; an old one's mode and owner are kept.
///
/// A new file of root's in a directory that another user or group may write to is theirs as well: it belongs to the directory's owner,
/// and a group that may write there may read it. So what `causeway join` writes to `/etc/causeway` can be read by the service.
///
/// # Errors
/// The system refuses a step, a full disk for one; then the old file is as it was, or the new one is there and may not outlast a power
/// cut.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let prepared = PreparedFile::new(path, content, mode)?;
    prepared.rename()?;
    prepared.sync()
}

/// A new file that is on the disk, beside the one whose place it is to take. Goes away if it does not.
#[derive(Debug)]
pub struct PreparedFile {
    path: PathBuf,
    directory: PathBuf,
    beside: PathBuf,
    /// The old file's other name while it may have to come back.
    kept: PathBuf,
    is_first: bool,
}

impl PreparedFile {
    /// Writes the new file.
    ///
    /// # Errors
    /// The system refuses, a full disk for one; or the path is a link that somebody made to a file that is not theirs.
    pub fn new(path: &Path, content: &[u8], mode: u32) -> io::Result<Self> {
        Self::with(path, content, mode, |old| Some(Access::of_old(old, 0o7777)))
    }

    /// Writes a new file that holds a secret: a new one is its owner's, and a group's only where [`write_atomic`] says so. An old one's
    /// owner and group are kept, unless everybody could read it: then it says nothing about who is to.
    ///
    /// # Errors
    /// As [`PreparedFile::new`].
    pub fn secret(path: &Path, content: &[u8]) -> io::Result<Self> {
        Self::with(path, content, 0o600, |old| (old.mode() & 0o007 == 0).then(|| Access::of_old(old, 0o640)))
    }

    fn with(
        path: &Path,
        content: &[u8],
        mode: u32,
        of_old: impl FnOnce(&fs::Metadata) -> Option<Access>,
    ) -> io::Result<Self> {
        let path = behind_link(path)?;
        let old = fs::metadata(&path).ok();
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
        let [beside, kept] =
            ["new", "old"].map(|end| directory.join(format!(".{name}.{}.{end}", std::process::id())));
        let prepared = Self { path, directory, beside, kept, is_first: old.is_none() };
        let access = match old.as_ref().and_then(of_old) {
            Some(access) => access,
            None => Access::of_new(&fs::metadata(&prepared.directory)?, mode),
        };
        write_beside(&prepared.beside, content, &access)?;
        Ok(prepared)
    }

    /// Puts it in the old one's place.
    ///
    /// # Errors
    /// The system refuses; then the old file is as it was.
    pub fn rename(&self) -> io::Result<()> {
        fs::rename(&self.beside, &self.path)
    }

    /// Puts several in their places: all of them, or on an error none.
    ///
    /// # Errors
    /// The system refuses; the error says which file. If it is only that the names may not outlast a power cut, they are in their places.
    pub fn rename_all(files: &[Self]) -> io::Result<()> {
        for (at, file) in files.iter().enumerate() {
            file.keep_old();
            if let Err(error) = file.rename() {
                files[..at].iter().for_each(Self::put_back);
                return Err(io::Error::new(error.kind(), format!("{}: {error}", file.path.display())));
            }
        }
        files.iter().try_for_each(Self::sync)
    }

    /// Gives the old file a second name.
    fn keep_old(&self) {
        // Of a process of the same number that was killed.
        let _ = fs::remove_file(&self.kept);
        // Where a file cannot have two names there is no way back, which is no reason not to go.
        let _ = fs::hard_link(&self.path, &self.kept);
    }

    fn put_back(&self) {
        let _ = match self.is_first {
            true => fs::remove_file(&self.path),
            false => fs::rename(&self.kept, &self.path),
        };
    }

    /// Sees that the new name outlasts a power cut.
    ///
    /// # Errors
    /// The system refuses. The new file is in its place all the same.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        // It has taken the other's place, or is of no use; the old one is not to come back any more.
        let _ = fs::remove_file(&self.beside);
        let _ = fs::remove_file(&self.kept);
    }
}

/// The file that is meant: a link keeps on pointing to it. A link is believed if root made it, or the one to whom the file belongs: in a
/// directory that another user may write to root would otherwise overwrite whatever that user likes.
fn behind_link(path: &Path) -> io::Result<PathBuf> {
    let Some(link) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_symlink) else {
        return Ok(path.to_owned());
    };
    // One that points to nothing is replaced.
    let Ok(file) = fs::canonicalize(path) else { return Ok(path.to_owned()) };
    if link.uid() != 0 && link.uid() != fs::metadata(&file)?.uid() {
        let told = format!("it is a link to {}, made by another user than the file's", file.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
    }
    Ok(file)
}

/// Who may do what with a file.
struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Access {
    /// What an old file has, of its mode what `mask` leaves.
    fn of_old(old: &fs::Metadata, mask: u32) -> Self {
        Self { uid: old.uid(), gid: old.gid(), mode: old.mode() & mask }
    }

    /// What root gives a new file in a directory.
    fn of_new(directory: &fs::Metadata, mode: u32) -> Self {
        // A directory that all may write to, /tmp for one, says nothing about groups.
        let is_shared = directory.mode() & 0o022 == 0o020;
        let for_group = if is_shared && directory.gid() != 0 { mode >> 3 & 0o040 } else { 0 };
        Self { uid: directory.uid(), gid: directory.gid(), mode: mode | for_group }
    }
}

fn write_beside(path: &Path, content: &[u8], access: &Access) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody else may read it before it has its final mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // Only root may give files away; for others the file is theirs already. The file and not its name: whoever may write to the directory
    // could put another behind that.
    let _ = fchown(&file, Some(access.uid), Some(access.gid));
    file.set_permissions(Permissions::from_mode(access.mode))?;
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

    /// A directory as the package makes /etc/causeway, of a group that there need not be; `None` when the test does not run as root.
    fn shared_directory(name: &str) -> Option<PathBuf> {
        let directory = std::env::temp_dir().join(format!("causeway-write-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        if std::os::unix::fs::chown(&directory, Some(0), Some(GROUP)).is_err() {
            fs::remove_dir_all(&directory).expect("removed");
            return None;
        }
        fs::set_permissions(&directory, Permissions::from_mode(0o2770)).expect("changed");
        Some(directory)
    }

    const GROUP: u32 = 54_321;

    #[test]
    fn what_root_writes_can_be_read_by_whom_the_directory_is_shared_with() {
        let Some(directory) = shared_directory("shared") else { return };
        let path = directory.join("a.password");
        write_atomic(&path, b"secret", 0o600).expect("written");
        let of = |path: &Path| {
            let found = fs::metadata(path).expect("there");
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        assert_eq!(of(&path), (0, GROUP, 0o640));
        // What another user has for itself, and what all may write to.
        fs::set_permissions(&directory, Permissions::from_mode(0o750)).expect("changed");
        std::os::unix::fs::chown(&directory, Some(GROUP), None).expect("changed");
        let path = directory.join("b.key");
        write_atomic(&path, b"secret", 0o600).expect("written");
        assert_eq!(of(&path), (GROUP, GROUP, 0o600));
        fs::set_permissions(&directory, Permissions::from_mode(0o1777)).expect("changed");
        let path = directory.join("c.key");
        write_atomic(&path, b"secret", 0o600).expect("written");
        assert_eq!(of(&path).2, 0o600);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_secret_that_everybody_could_read_is_one_again() {
        let directory = std::env::temp_dir().join(format!("causeway-write-secret-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("a.key");
        let write = |mode: u32| {
            fs::write(&path, "old").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("changed");
            PreparedFile::secret(&path, b"new").and_then(|prepared| prepared.rename()).expect("written");
            fs::metadata(&path).expect("there").mode() & 0o7777
        };
        assert_eq!([0o640, 0o600, 0o660, 0o400].map(write), [0o640, 0o600, 0o640, 0o400]);
        assert_eq!([0o644, 0o604, 0o777].map(write), [0o600; 3]);
        fs::remove_file(&path).expect("there");
        assert_eq!(write(0o600), 0o600);
        fs::remove_dir_all(&directory).expect("removed");
        // In a directory that is shared with the service, the service goes on reading it.
        let Some(directory) = shared_directory("shared-secret") else { return };
        let path = directory.join("a.key");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        PreparedFile::secret(&path, b"new").and_then(|prepared| prepared.rename()).expect("written");
        let found = fs::metadata(&path).expect("there");
        assert_eq!((found.gid(), found.mode() & 0o7777), (GROUP, 0o640));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn several_are_replaced_together_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("causeway-write-several-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let [key, certificate, taken] = ["a.key", "a.crt", "taken"].map(|name| directory.join(name));
        let replace = |to: [&Path; 2], text: &str| {
            let prepared = to.map(|path| PreparedFile::new(path, text.as_bytes(), 0o600).expect("prepared"));
            PreparedFile::rename_all(&prepared)
        };
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        replace([&key, &certificate], "one").expect("written");
        replace([&key, &certificate], "two").expect("written");
        assert_eq!((read(&key), read(&certificate)), ("two".into(), "two".into()));
        // A directory is in the second one's place.
        fs::create_dir_all(taken.join("in the way")).expect("a directory");
        let told = replace([&key, &taken], "three").expect_err("refused").to_string();
        assert!(told.contains("taken"), "{told}");
        assert_eq!(read(&key), "two");
        let new = directory.join("b.key");
        replace([&new, &taken], "three").expect_err("refused");
        assert!(!new.exists());
        assert_eq!(fs::read_dir(&directory).expect("readable").count(), 3, "nothing is left behind");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn root_follows_no_link_of_another_user_to_a_file_that_is_not_his() {
        let Some(directory) = shared_directory("link") else { return };
        let (file, link) = (directory.join("shadow"), directory.join("a.toml"));
        fs::write(&file, "root's").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        std::os::unix::fs::lchown(&link, Some(GROUP), Some(GROUP)).expect("changed");
        let told = write_atomic(&link, b"mode", 0o600).expect_err("refused");
        assert_eq!(told.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read(&file).expect("there"), b"root's");
        // His own he may link to.
        std::os::unix::fs::chown(&file, Some(GROUP), None).expect("changed");
        write_atomic(&link, b"mode", 0o600).expect("written");
        assert_eq!(fs::read(&file).expect("there"), b"mode");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
