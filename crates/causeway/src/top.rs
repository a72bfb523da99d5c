//! `causeway top`, and `causeway tech-support`.

use std::fs::OpenOptions;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use console::render::lines;
use console::top::Top;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::{Failure, ask};

/// The live view on this terminal, until `q` or Control-C.
pub(crate) fn run(socket: &Path) -> Result<(), Failure> {
    let mut top = Top::default();
    // Before the terminal is changed: an appliance that does not answer is told in a plain line.
    let first = ask::ask(socket, "show top")?;
    crossterm::terminal::enable_raw_mode()?;
    let done = live(&mut top, first, socket);
    crossterm::terminal::disable_raw_mode()?;
    // Whoever looked may be gone.
    let _ = writeln!(stdout(), "\x1b[H\x1b[2J");
    done
}

fn live(top: &mut Top, mut answer: Value, socket: &Path) -> Result<(), Failure> {
    stdout().write_all(b"\x1b[2J")?;
    loop {
        let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
        top.take(&answer);
        let mut out = stdout().lock();
        out.write_all(top.screen(usize::from(columns), usize::from(rows)).as_bytes())?;
        out.flush()?;
        let input = stdin();
        let mut fds =
            [PollFd::new(input.as_fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::from(1000_u16)).is_ok_and(|ready| ready > 0) {
            if ask::nobody_reads(&fds[1]) {
                return Ok(());
            }
            let mut keys = [0; 64];
            let n = input.lock().read(&mut keys)?;
            if n == 0 || keys[..n].iter().any(|key| matches!(key, b'q' | b'Q' | 3 | 4)) {
                return Ok(());
            }
        }
        answer = ask::ask(socket, "show top")?;
    }
}

/// Writes everything that those who help want to know into one tar archive, for the owner only.
pub(crate) fn tech_support(file: &Path, socket: &Path) -> Result<(), Failure> {
    let answer = ask::ask(socket, "show tech-support")?;
    let unwritten = |error: std::io::Error| Failure(format!("cannot write {}: {error}", file.display()));
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(unwritten)?;
    let mut archive = tar::Builder::new(out);
    for (name, part) in answer["parts"].as_object().into_iter().flatten() {
        let name = name.replace(' ', "-");
        add(&mut archive, &format!("{name}.json"), format!("{part:#}\n").as_bytes()).map_err(unwritten)?;
        add(&mut archive, &format!("{name}.txt"), lines(part).as_bytes()).map_err(unwritten)?;
    }
    archive.into_inner().and_then(|mut file| file.flush()).map_err(unwritten)?;
    println!("wrote {}", file.display());
    Ok(())
}

fn add<W: Write>(archive: &mut tar::Builder<W>, name: &str, octets: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(octets.len() as u64);
    header.set_mode(0o644);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    header.set_mtime(now.map_or(0, |since| since.as_secs()));
    header.set_cksum();
    archive.append_data(&mut header, format!("causeway/{name}"), octets)
}
