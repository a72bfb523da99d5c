//! `[console]`: who may use the console, and where.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use argon2::{Algorithm, Params, PasswordHash};

use crate::reader::Table;

/// Most users.
const MAX_USERS: usize = 64;

/// Most that checking one password may cost: KiB of memory, and passes over it.
const MAX_MEMORY: u32 = 256 << 10;
const MAX_PASSES: u32 = 16;

/// The consoles that are served beside that on the Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where TCP connections are accepted.
    pub listen: Option<SocketAddr>,
    /// Certificate and key, if the connections are encrypted.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How long a console may be idle.
    pub idle: Duration,
    /// Most consoles over TCP at one time.
    pub max_sessions: usize,
    /// Who may log in.
    pub users: Vec<User>,
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// Whether the user may change things.
    pub admin: bool,
    /// The hash of the password, as `causeway passwd --console` makes it.
    pub password_hash: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("admin", &self.admin).finish_non_exhaustive()
    }
}

pub(crate) fn read(table: &Table<'_>, directory: &Path) -> Console {
    let listen = table.parsed::<SocketAddr>("listen");
    let wants_tls = table.boolean("tls").unwrap_or(false);
    let file = |key| table.string(key).map(|found| directory.join(found.value));
    let (certificate, key) = (file("certificate"), file("key"));
    if let Some(found) = listen.as_ref().filter(|found| !found.value.ip().is_loopback() && !wants_tls) {
        let problem =
            format!("{} is no loopback address: needs tls = true, certificate and key", found.value.ip());
        table.fault(Some(found.at), "listen", problem);
    }
    let tls = match (wants_tls, certificate, key) {
        (true, Some(certificate), Some(key)) => Some((certificate, key)),
        (true, ..) => {
            table.fault(None, "tls", "needs certificate and key");
            None
        }
        (false, None, None) => None,
        (false, ..) => {
            table.fault(None, "tls", "has to be true where certificate and key are given");
            None
        }
    };
    let number = |key, range, default| table.number(key, range).map_or(default, |found| found.value);
    let idle = Duration::from_secs(number("idle_s", 10..=86_400, 600));
    let max_sessions = number("max_sessions", 1..=256, 32) as usize;
    let users = users(table);
    if listen.is_some() && users.is_empty() {
        table.fault(None, "listen", "needs at least one [[console.user]]: nobody could log in");
    }
    table.finish();
    Console { listen: listen.map(|found| found.value), tls, idle, max_sessions, users }
}

fn users(table: &Table<'_>) -> Vec<User> {
    let (mut users, mut names) = (Vec::new(), HashSet::new());
    for user in table.tables("user") {
        let name = user.required("name", user.string("name"));
        let role = user.required("role", user.string("role"));
        let hash = user.required("password_hash", user.string("password_hash"));
        user.finish();
        if let Some(found) = &name {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
            if found.value.is_empty() || found.value.len() > 64 || !found.value.chars().all(good) {
                user.fault(Some(found.at), "name", "has to be 1 to 64 letters, digits and - _ . @");
            } else if !names.insert(found.value.clone()) {
                user.fault(Some(found.at), "name", format!("there are two users {:?}", found.value));
            }
        }
        let admin = role.as_ref().and_then(|found| match found.value.as_str() {
            "admin" => Some(true),
            "operator" => Some(false),
            other => {
                let problem = format!("{other:?} is neither \"operator\" (looks) nor \"admin\" (changes)");
                user.fault(Some(found.at), "role", problem);
                None
            }
        });
        if let Some(found) = &hash {
            if let Err(problem) = check(&found.value) {
                user.fault(Some(found.at), "password_hash", problem);
            }
        }
        if let (Some(name), Some(admin), Some(hash)) = (name, admin, hash) {
            users.push(User { name: name.value, admin, password_hash: hash.value });
        }
    }
    if users.len() > MAX_USERS {
        table.fault(None, "user", format!("there are more than {MAX_USERS} users"));
    }
    users
}

/// Checks that a hash is one that a password can be checked against, at a bounded price.
fn check(text: &str) -> Result<(), String> {
    let make = "make one with `causeway passwd --console`";
    let hash = PasswordHash::new(text).map_err(|_| format!("is no password hash: {make}"))?;
    if Algorithm::try_from(hash.algorithm) != Ok(Algorithm::Argon2id) || hash.hash.is_none() {
        return Err(format!("is no Argon2id hash: {make}"));
    }
    let params = Params::try_from(&hash).map_err(|error| format!("{error}: {make}"))?;
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
        return Err(format!("costs too much to check (at most m={MAX_MEMORY}, t={MAX_PASSES}): {make}"));
    }
    Ok(())
}
