//! `causeway show` and other commands of the console's tree, asked over the appliance's socket and laid out for people.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use console::filter::{self, Filter};
use console::tree::{Command, Does, Role, View, parse};
use console::{commands, words};
use serde_json::Value;

use crate::Failure;
use crate::ask::Heard;

/// `causeway show`.
pub(crate) fn run(what: &[String], as_json: bool, socket: &Path) -> Result<(), Failure> {
    let what: Vec<String> = std::iter::once("show".into()).chain(what.iter().cloned()).collect();
    let filters = if as_json { vec![Filter::Json] } else { Vec::new() };
    ask(&what, &filters, socket)
}

/// `causeway console -c`.
pub(crate) fn command(line: &str, socket: &Path) -> Result<(), Failure> {
    let parts = words::parts(line);
    let filters = filter::parse(&parts[1..]).map_err(Failure)?;
    ask(&words::split(parts[0]), &filters, socket)
}

/// `causeway reload`.
pub(crate) fn reload(socket: &Path) -> Result<(), Failure> {
    command("reload", socket)
}

/// Why nobody answers.
pub(crate) fn unreachable(socket: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => " (is the appliance running? see --socket)",
        _ => "",
    };
    Failure(format!("cannot ask the appliance at {}: {error}{hint}", socket.display()))
}

fn ask(what: &[String], filters: &[Filter], socket: &Path) -> Result<(), Failure> {
    let Command { words, does } =
        parse(commands::root(), what, Role::Admin).map_err(|wrong| Failure(wrong.to_string()))?;
    let Does::Ask(view) = does else {
        return Err(Failure(format!("{} is for an open console only", words.join(" "))));
    };
    let failed = |error| unreachable(socket, &error);
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.write_all(format!("{}\n", words::join(&words)).as_bytes()).map_err(failed)?;
    // The last line is the answer, those before it are what happened meanwhile.
    let mut last: Option<Value> = None;
    for line in BufReader::new(Heard(stream)).lines() {
        let line = match line {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            line => serde_json::from_str(&line.map_err(failed)?)?,
        };
        if let Some(line) = last.replace(line) {
            shown(&filter::apply(filters, &line, console::render::views::progress as View))?;
        }
    }
    let answer = last.ok_or_else(|| Failure("the appliance ended without an answer".into()))?;
    if let Some(error) = answer["error"].as_str() {
        return Err(Failure(console::printable(error)));
    }
    shown(&filter::apply(filters, &answer, *view))
}

/// Prints, as long as somebody reads it.
fn shown(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `causeway clear`.
pub(crate) fn clear(words: &[String], socket: &Path) -> Result<(), Failure> {
    let what: Vec<String> = std::iter::once("clear".into()).chain(words.iter().cloned()).collect();
    ask(&what, &[], socket)
}
