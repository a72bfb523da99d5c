//! The log: to stderr, for people or as JSON, and its last lines in memory for `show log`. `RUST_LOG` chooses what is in it.

use config::LogFormat;
use control::Log;
use control::logbook::LogBook;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

pub(crate) fn start(format: LogFormat) -> Log {
    let normal = std::env::var("RUST_LOG").ok().filter(|text| EnvFilter::try_new(text).is_ok());
    let normal = normal.unwrap_or_else(|| "info".into());
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&normal));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let book = LogBook::default();
    tracing_subscriber::registry().with(filter).with(lines).with(book.clone()).init();
    let set = move |text: &str| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    Log { book, normal, set: Box::new(set) }
}
