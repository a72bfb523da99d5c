//! `causeway capture`: asks the running appliance for packets and writes them. The appliance itself writes no file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::Failure;
use crate::ask::{Appliance, Heard, connect, request, text};

/// Longest chunk that an appliance sends.
const MAX_CHUNK: usize = 1 << 20;

/// What to capture, and where to.
#[derive(Args)]
pub(crate) struct Capture {
    /// port NAME, segment NAME, session SITE [inside | outside | records], drops [REASON]; then a filter in tcpdump's words.
    #[arg(required = true)]
    words: Vec<String>,
    /// End after so many packets.
    #[arg(short, long)]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Keep so many octets of each packet.
    #[arg(short, long)]
    snap: Option<u64>,
    /// Write pcapng to this file, "-" for the standard output. Without it, a line is printed for each packet.
    #[arg(short, long)]
    write: Option<PathBuf>,
    #[command(flatten)]
    appliance: Appliance,
}

impl Capture {
    fn request(&self) -> String {
        let mut first = "capture".to_owned();
        for (name, value) in [("count", self.count), ("seconds", self.seconds), ("snap", self.snap)] {
            first.extend(value.map(|value| format!(" {name} {value}")));
        }
        if self.write.is_none() {
            first += " lines";
        }
        request(&first, &self.words, &["port", "segment", "session"])
    }
}

pub(crate) fn run(capture: &Capture) -> Result<(), Failure> {
    let mut stream = connect(&capture.appliance.socket, &capture.request())?;
    match &capture.write {
        None => lines(Heard(stream)),
        Some(path) if path == Path::new("-") => {
            packets(&mut Heard(stream), &mut io::stdout().lock(), path, |_, _| {})
        }
        Some(path) => {
            let cannot = |error| Failure(format!("cannot write {}: {error}", path.display()));
            // Frames and opened records are for nobody else.
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(cannot)?;
            // What is no regular file cannot be cut.
            packets(&mut stream, &mut file, path, |file, whole| drop(file.set_len(whole)))
        }
    }
}

/// Prints a line for each packet.
fn lines(stream: Heard) -> Result<(), Failure> {
    for line in BufReader::new(stream).lines() {
        let line: Value = match line {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            line => serde_json::from_str(&line?)?,
        };
        if let Some(error) = line["error"].as_str() {
            return Err(Failure(error.into()));
        }
        if line["captured"].is_u64() {
            summary(&line);
            break;
        }
        let direction = if line["direction"] == "out" { ">" } else { "<" };
        let mut words = vec![text(&line["time"]), direction.into(), text(&line["interface"])];
        words.extend(line["reason"].as_str().map(|reason| format!("[{reason}]")));
        words.push(text(&line["summary"]));
        if let Err(error) = writeln!(io::stdout(), "{}", words.join(" ")) {
            return if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) };
        }
    }
    Ok(())
}

/// Writes what comes, chunk by chunk. Of a chunk that finds no room, some may be written: `cut` leaves so many octets, which are whole
/// packets.
fn packets<W: Write>(
    stream: &mut impl Read,
    out: &mut W,
    path: &Path,
    cut: impl Fn(&mut W, u64),
) -> Result<(), Failure> {
    let mut whole = 0;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let first: Value = serde_json::from_str(&line)?;
    if let Some(error) = first["error"].as_str() {
        return Err(Failure(error.into()));
    }
    loop {
        let mut length = [0; 4];
        match reader.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(_) => return Err(Failure("the appliance has ended the capture".into())),
        }
        let len = u32::from_be_bytes(length) as usize;
        if len == 0 {
            break;
        }
        if len > MAX_CHUNK {
            return Err(Failure("the appliance answers with something that is no capture".into()));
        }
        let mut chunk = vec![0; len];
        reader.read_exact(&mut chunk)?;
        match out.write_all(&chunk).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                cut(out, whole);
                return Err(Failure(format!(
                    "cannot write {}: {error}; the capture ends here",
                    path.display()
                )));
            }
            Ok(()) => whole += u64::from(u32::from_be_bytes(length)),
        }
    }
    line.clear();
    reader.read_line(&mut line)?;
    summary(&serde_json::from_str(&line)?);
    Ok(())
}

fn summary(last: &Value) {
    eprintln!("{} captured, {} missed", text(&last["captured"]), text(&last["missed"]));
}
