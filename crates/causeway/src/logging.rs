//! The log: to the journal, or to stderr for people or as JSON, and its last lines in memory for `show log`. `RUST_LOG` chooses what
//! is in it.

use std::io::{self, IsTerminal};

use config::LogFormat;
use control::Log;
use control::logbook::LogBook;
use nix::sys::stat::fstat;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

pub(crate) fn start(format: LogFormat) -> Log {
    let normal = std::env::var("RUST_LOG").ok().filter(|text| EnvFilter::try_new(text).is_ok());
    let normal = normal.unwrap_or_else(|| "info".into());
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&normal));
    let journal = match format {
        LogFormat::Auto => stderr_is_the_journal(),
        LogFormat::Journal => true,
        LogFormat::Text | LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let (lines, refused) = match journal.then(tracing_journald::layer) {
        Some(Ok(layer)) => {
            (layer.with_field_prefix(None).with_syslog_identifier("causeway".into()).boxed(), None)
        }
        other => {
            let lines = match format {
                LogFormat::Json => lines.json().boxed(),
                _ => lines.with_ansi(io::stderr().is_terminal()).boxed(),
            };
            (lines, other.and_then(Result::err))
        }
    };
    let book = LogBook::default();
    tracing_subscriber::registry().with(filter).with(lines).with(book.clone()).init();
    if let Some(error) = refused {
        tracing::warn!(%error, "cannot write to the journal: the log goes to stderr");
    }
    let set = move |text: &str| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    Log { book, normal, set: Box::new(set) }
}

/// systemd names the device and inode of what it has connected to the journal (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}
