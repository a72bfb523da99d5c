//! `causeway capture`: asks the running appliance for packets and writes them. The appliance itself writes no file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::Failure;
use crate::ask::{Appliance, connect, text};

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
        let mut request = vec!["capture".to_owned()];
        for (name, value) in [("count", self.count), ("seconds", self.seconds), ("snap", self.snap)] {
            request.extend(value.map(|value| format!("{name} {value}")));
        }
        if self.write.is_none() {
            request.push("lines".into());
        }
        request.extend(self.words.iter().cloned());
        request.join(" ")
    }
}

pub(crate) fn run(capture: &Capture) -> Result<(), Failure> {
    let mut stream = connect(&capture.appliance.socket, &capture.request())?;
    match &capture.write {
        None => lines(stream),
        Some(path) if path == Path::new("-") => packets(&mut stream, &mut io::stdout().lock(), path),
        Some(path) => {
            let cannot = |error| Failure(format!("cannot write {}: {error}", path.display()));
            let mut file = File::create(path).map_err(cannot)?;
            packets(&mut stream, &mut file, path)
        }
    }
}

/// Prints a line for each packet.
fn lines(stream: UnixStream) -> Result<(), Failure> {
    for line in BufReader::new(stream).lines() {
        let line: Value = serde_json::from_str(&line?)?;
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

/// Writes what comes, chunk by chunk: whatever happens, what was written is whole packets.
fn packets(stream: &mut UnixStream, out: &mut impl Write, path: &Path) -> Result<(), Failure> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let first: Value = serde_json::from_str(&line)?;
    if let Some(error) = first["error"].as_str() {
        return Err(Failure(error.into()));
    }
    loop {
        let mut len = [0; 4];
        reader.read_exact(&mut len).map_err(|_| Failure("the appliance has ended the capture".into()))?;
        let len = u32::from_be_bytes(len) as usize;
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
            done => done.map_err(|error| {
                Failure(format!("cannot write {}: {error}; the capture ends here", path.display()))
            })?,
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
