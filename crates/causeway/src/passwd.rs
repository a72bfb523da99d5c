//! `causeway passwd`.

use std::io::{IsTerminal, stdin};

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher};
use control::random::OsRandom;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use session::scram::Verifier;
use zeroize::Zeroizing;

use crate::Failure;

/// Prints what the configuration keeps of a password: a site's verifier, or the hash of a user of the console.
pub(crate) fn run(for_console: bool) -> Result<(), Failure> {
    let password = read()?;
    if for_console {
        let mut salt = [0; 16];
        OsRandom::new().fill(&mut salt);
        let salt = SaltString::encode_b64(&salt).map_err(|error| Failure(error.to_string()))?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        println!("{}", hash.map_err(|error| Failure(error.to_string()))?);
        return Ok(());
    }
    println!("{}", Verifier::new(&password, &mut OsRandom::new())?);
    Ok(())
}

/// Reads a password: twice from a terminal, else one line.
pub(crate) fn read() -> Result<Zeroizing<String>, Failure> {
    let password = if stdin().is_terminal() {
        let first = ask("Password: ")?;
        if *first != *ask("Again: ")? {
            return Err(Failure("the two passwords differ".into()));
        }
        first
    } else {
        line()?
    };
    if password.is_empty() {
        return Err(Failure("the password is empty".into()));
    }
    Ok(password)
}

/// Asks on the terminal, without showing what is typed.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    eprint!("{prompt}");
    let shown = tcgetattr(stdin())?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(stdin(), SetArg::TCSANOW, &hidden)?;
    let typed = line();
    tcsetattr(stdin(), SetArg::TCSANOW, &shown)?;
    eprintln!();
    typed
}

fn line() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    stdin().read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
