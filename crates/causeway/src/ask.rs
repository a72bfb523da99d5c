//! Asking a running appliance something that takes its time.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::Failure;

/// Which appliance.
#[derive(Args)]
pub(crate) struct Appliance {
    /// The appliance's socket.
    #[arg(long, default_value = crate::SOCKET)]
    pub(crate) socket: PathBuf,
}

/// Sends a request; what comes is to be read.
pub(crate) fn connect(socket: &Path, request: &str) -> Result<UnixStream, Failure> {
    let sent = UnixStream::connect(socket).and_then(|mut stream| {
        writeln!(stream, "{request}")?;
        Ok(stream)
    });
    sent.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => " (is the appliance running? see --socket)",
            _ => "",
        };
        Failure(format!("cannot ask the appliance at {}: {error}{hint}", socket.display()))
    })
}

/// The one answer to a request, however long it takes.
pub(crate) fn ask(socket: &Path, request: &str) -> Result<Value, Failure> {
    let mut answer = String::new();
    connect(socket, request)?.read_to_string(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    match answer["error"].as_str() {
        Some(error) => Err(Failure(error.into())),
        None => Ok(answer),
    }
}

/// A value for people.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
