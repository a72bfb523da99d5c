//! The last lines of the log, for `show log`, and the way to change what is in it while the appliance runs.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use session::Now;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock::utc_text;

/// Lines that are kept, and the longest of them.
const LINES: usize = 1000;
const MAX_LINE: usize = 2000;

/// Longest time that `debug` lasts, in minutes, and what it lasts if nobody says.
pub(crate) const MAX_MINUTES: u64 = 240;
const MINUTES: u64 = 10;

/// Changes what is logged; takes a filter as `RUST_LOG` has them.
pub type SetFilter = Box<dyn Fn(&str) -> Result<(), String> + Send>;

/// The last lines. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LogBook(Arc<Mutex<VecDeque<Line>>>);

#[derive(Debug)]
struct Line {
    unix: u64,
    level: Level,
    target: String,
    text: String,
}

impl LogBook {
    /// The last `limit` lines of at least this level, oldest first.
    pub(crate) fn show(&self, least: Level, limit: usize) -> Value {
        let lines = lock(&self.0);
        let mut shown: Vec<Value> = lines
            .iter()
            .rev()
            .filter(|line| line.level <= least)
            .take(limit)
            .map(|line| {
                json!({
                    "time": utc_text(line.unix),
                    "level": line.level.as_str(),
                    "target": line.target,
                    "message": line.text,
                })
            })
            .collect();
        shown.reverse();
        json!({ "lines": shown, "kept": LINES })
    }
}

impl<S: Subscriber> Layer<S> for LogBook {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = Line {
            unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            level: *event.metadata().level(),
            target: event.metadata().target().into(),
            text: text.0,
        };
        let mut lines = lock(&self.0);
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The message, and behind it the fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.len() > MAX_LINE {
            return;
        }
        let written = match field.name() {
            "message" => {
                let fields = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{fields}")
            }
            name => write!(self.0, " {name}={value:?}"),
        };
        // Writing to a string does not fail.
        let _ = written;
        if let Some((end, _)) = self.0.char_indices().nth(MAX_LINE) {
            self.0.truncate(end);
        }
    }
}

/// `debug`: more in the log for a while.
pub(crate) struct Debug {
    set: SetFilter,
    /// What is logged else.
    normal: String,
    /// Modules with their levels, and until when.
    extra: Vec<(String, String)>,
    until: Option<Now>,
}

impl Debug {
    pub(crate) fn new(normal: String, set: SetFilter) -> Self {
        Self { set, normal, extra: Vec::new(), until: None }
    }

    /// Answers `debug [MODULE LEVEL [minutes N] | off]`.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub(crate) fn request(&mut self, words: &[&str], now: Now) -> Result<Value, String> {
        let (module, level, minutes) = match *words {
            [] => return Ok(self.show(now)),
            ["off"] => {
                self.end();
                return Ok(json!({ "done": "the log has what it has normally" }));
            }
            [module, level] => (module, level, MINUTES),
            [module, level, "minutes", minutes] => {
                let minutes = minutes.parse().ok().filter(|minutes| (1..=MAX_MINUTES).contains(minutes));
                (module, level, minutes.ok_or_else(|| format!("minutes are 1 to {MAX_MINUTES}"))?)
            }
            _ => return Err("debug takes a module, a level, and minutes".into()),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if !module.chars().all(good) || !["error", "warn", "info", "debug", "trace"].contains(&level) {
            return Err("debug takes a module (control, session, ...; all) and a level: error, warn, info, debug, trace".into());
        }
        let mut extra = self.extra.clone();
        extra.retain(|(known, _)| known != module);
        extra.push((module.into(), level.into()));
        (self.set)(&filter(&self.normal, &extra))?;
        self.extra = extra;
        self.until = Some(now + Duration::from_secs(minutes * 60));
        Ok(
            json!({ "done": format!("{module} is logged at level {level} for {minutes} min; debug off ends it") }),
        )
    }

    /// Ends what has lasted long enough.
    pub(crate) fn keep_time(&mut self, now: Now) {
        if self.until.is_some_and(|until| now >= until) {
            self.end();
            tracing::info!("debug has ended");
        }
    }

    fn end(&mut self) {
        self.extra.clear();
        self.until = None;
        if let Err(error) = (self.set)(&self.normal) {
            tracing::warn!(%error, "the log stays as it is");
        }
    }

    /// `show debug`.
    pub(crate) fn show(&self, now: Now) -> Value {
        json!({
            "normal": self.normal,
            "debug": self.extra.iter().map(|(module, level)| format!("{module}={level}")).collect::<Vec<_>>(),
            "ends_in_s": self.until.map(|until| until.saturating_sub(now).as_secs()),
        })
    }
}

fn filter(normal: &str, extra: &[(String, String)]) -> String {
    let mut filter = normal.to_owned();
    for (module, level) in extra {
        filter += &if module == "all" { format!(",{level}") } else { format!(",{module}={level}") };
    }
    filter
}

fn lock(lines: &Mutex<VecDeque<Line>>) -> MutexGuard<'_, VecDeque<Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let book = LogBook::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(book.clone()), || {
            for at in 0..LINES + 10 {
                tracing::info!(at, name = "x", "line");
            }
            tracing::warn!("a warning {}", "y".repeat(5000));
        });
        let all = book.show(Level::INFO, 5000);
        let lines = all["lines"].as_array().expect("lines");
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0]["message"], "line at=11 name=x");
        let warnings = book.show(Level::WARN, 10);
        assert_eq!(warnings["lines"].as_array().map(Vec::len), Some(1));
        assert!(warnings["lines"][0]["message"].as_str().expect("text").len() <= MAX_LINE);
    }

    #[test]
    fn debug_is_bounded_in_time() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let set = move |filter: &str| {
            log.lock().expect("whole").push(filter.to_owned());
            Ok(())
        };
        let mut debug = Debug::new("info".into(), Box::new(set));
        let now = Now::from_secs(1);
        debug.request(&["control", "debug"], now).expect("good");
        debug.request(&["all", "trace", "minutes", "2"], now).expect("good");
        for bad in [&["control"][..], &["control", "loud"], &["a=b", "info"], &["a", "info", "minutes", "0"]]
        {
            assert!(debug.request(bad, now).is_err());
        }
        debug.keep_time(now + Duration::from_secs(119));
        assert_eq!(debug.show(now)["ends_in_s"], 120);
        debug.keep_time(now + Duration::from_secs(120));
        let seen = seen.lock().expect("whole");
        assert_eq!(*seen, ["info,control=debug", "info,control=debug,trace", "info"]);
    }
}
