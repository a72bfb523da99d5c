//! `configure`: candidate configurations, put in force on the running appliance and written to its file, and taken back.
//!
//! Every operator works on a candidate of his own, under the name of his session. Answers are JSON: `done` (a sentence), `text`,
//! `hints` or `versions`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use config::edit::{Candidate, Hint, complete, in_full};
use config::{Config, PreparedFile, write_atomic};
use serde_json::{Value, json};
use session::Now;

use crate::appliance::Appliance;
use crate::certificates::unix_now;
use crate::history::{History, Unconfirmed};

/// Candidates at one time.
const MAX_CANDIDATES: usize = 32;

/// A candidate that nobody touched for so long is dropped when room is needed.
const IDLE: Duration = Duration::from_secs(3600);

/// Minutes that a commit may wait for being confirmed.
const CONFIRM_MINUTES: std::ops::RangeInclusive<u64> = 1..=1440;

/// A way back that failed is tried again after so long.
const BACK_AGAIN: Duration = Duration::from_secs(5);

/// Reads and checks a text as the configuration.
pub type CheckText = Box<dyn Fn(&str) -> Result<Config, String>>;

/// What `configure` needs.
pub(crate) struct Configure {
    file: PathBuf,
    check: CheckText,
    history: History,
    candidates: BTreeMap<String, (Candidate, Now)>,
    unconfirmed: Option<Unconfirmed>,
    way_back: WayBack,
}

/// How far a commit that nobody confirmed has gone back.
#[derive(Default)]
struct WayBack {
    /// What was before is in force, though not in the file yet.
    in_force: bool,
    /// When it is tried again.
    again: Option<Now>,
    /// What was told of it last: the same is not told every few seconds.
    told: String,
}

impl Configure {
    pub(crate) fn new(file: PathBuf, check: CheckText, config: &Config) -> Self {
        let unconfirmed = Unconfirmed::read(&file);
        if let Some(waits) = &unconfirmed {
            tracing::warn!(
                "the configuration of {} is not confirmed: it goes back at {}",
                waits.who,
                pki::date(waits.until)
            );
        }
        let history = History::new(&config.system.state, &file);
        Self { file, check, history, candidates: BTreeMap::new(), unconfirmed, way_back: WayBack::default() }
    }

    /// The configuration's file.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// The words that may come next in a session's candidate.
    pub(crate) fn hints(&self, session: &str, words: &[&str]) -> Vec<Hint> {
        let words = &in_full(words)[..];
        match self.candidates.get(session) {
            Some((candidate, _)) => complete(candidate, words),
            None => {
                let new = self.running().ok().and_then(|text| Candidate::new(&self.file, &text).ok());
                new.map_or_else(Vec::new, |candidate| complete(&candidate, words))
            }
        }
    }

    fn running(&self) -> Result<String, String> {
        fs::read_to_string(&self.file)
            .map_err(|error| format!("cannot read {}: {error}", self.file.display()))
    }

    /// The candidate of a session; one that is new, or in which nothing was changed yet, begins with the file as it is.
    fn candidate(&mut self, session: &str, now: Now) -> Result<&mut Candidate, String> {
        if !self.candidates.get(session).is_some_and(|(candidate, _)| candidate.is_changed()) {
            self.candidates.remove(session);
            if self.candidates.len() >= MAX_CANDIDATES {
                self.candidates.retain(|_, (_, touched)| now < *touched + IDLE);
            }
            if self.candidates.len() >= MAX_CANDIDATES {
                return Err("too many candidates are open: discard one".into());
            }
            let new = Candidate::new(&self.file, &self.running()?).map_err(|error| error.to_string())?;
            self.candidates.insert(session.into(), (new, now));
        }
        let entry = self.candidates.get_mut(session).ok_or("there is no candidate")?;
        entry.1 = now;
        Ok(&mut entry.0)
    }

    /// The text of a version: 0 is the file as it is, 1 what was before the last commit.
    fn version(&self, back: usize) -> Result<String, String> {
        if back == 0 {
            return self.running();
        }
        let versions = self.history.versions();
        let version = versions.get(back).ok_or_else(|| {
            format!(
                "there is no version {back}: `show versions` lists those there are (0 to {})",
                versions.len().saturating_sub(1)
            )
        })?;
        self.history.text(version).map_err(|error| format!("cannot read version {back}: {error}"))
    }

    fn versions(&self) -> Value {
        let versions = self.history.versions();
        let version = |(back, version): (usize, &crate::history::Version)| json!({ "back": back, "note": version.note, "current": back == 0 });
        json!({
            "versions": versions.iter().enumerate().map(version).collect::<Vec<_>>(),
            "unconfirmed_until": self.unconfirmed.as_ref().map(|waits| pki::date(waits.until)),
        })
    }
}

impl Appliance {
    /// Answers `configure ...` of `who`, who may change things: `versions`, `confirm`, or `SESSION` and what to do with its candidate.
    ///
    /// # Errors
    /// What cannot be done, and why; then nothing has changed.
    pub(crate) fn configure(&mut self, who: &str, words: &[&str]) -> Result<Value, String> {
        let now = self.now();
        match *words {
            ["versions"] => Ok(self.configure.versions()),
            ["confirm"] => self.confirm(who),
            [session, "discard"] => {
                self.configure.candidates.remove(session);
                Ok(done("the candidate is gone"))
            }
            [session, "commit"] => self.commit(session, who, None),
            [session, "commit", "confirmed", minutes] => {
                let minutes = minutes.parse::<u64>().ok().filter(|minutes| CONFIRM_MINUTES.contains(minutes));
                let minutes = minutes.ok_or("commit confirmed takes 1 to 1440 minutes")?;
                self.commit(session, who, Some(minutes))
            }
            [session, ref what @ ..] => self.candidate(session, now, what),
            [] => Err("configure needs a session and what to do".into()),
        }
    }

    fn candidate(&mut self, session: &str, now: Now, what: &[&str]) -> Result<Value, String> {
        let running = self.configure.running()?;
        let rollback = match *what {
            ["rollback", back] => {
                let back = back
                    .parse()
                    .map_err(|_| "rollback takes the number of a version, 0 for the one in force")?;
                Some(self.configure.version(back)?)
            }
            _ => None,
        };
        if rollback.is_some() {
            // It takes the place of whatever was changed, and begins with what is in force now.
            self.configure.candidates.remove(session);
        }
        let candidate = self.configure.candidate(session, now)?;
        let edited = match *what {
            ["set", ref words @ ..] => candidate.set(&in_full(words)),
            ["add", ref words @ ..] => candidate.add(&in_full(words)),
            ["delete", ref words @ ..] => candidate.delete(&in_full(words)),
            ["merge"] => candidate.merge(&running),
            ["rollback", _] => candidate.replace(&rollback.unwrap_or_default()),
            ["show", ref words @ ..] => {
                return Ok(
                    json!({ "text": candidate.show(&in_full(words)).map_err(|error| error.to_string())? }),
                );
            }
            ["compare"] => {
                return Ok(
                    json!({ "text": candidate.compare(&running), "outdated": candidate.base() != running }),
                );
            }
            ["check"] => {
                let text = candidate.text();
                (self.configure.check)(&text)?;
                return Ok(done("the candidate is good"));
            }
            ["complete", ref words @ ..] => {
                let hint =
                    |Hint { word, help, literal }| json!({ "word": word, "help": help, "literal": literal });
                return Ok(
                    json!({ "hints": complete(candidate, &in_full(words)).into_iter().map(hint).collect::<Vec<_>>() }),
                );
            }
            [] => Ok(()),
            [other, ..] => {
                return Err(format!(
                    "there is no {other:?}; there are: set, add, delete, show, compare, check, commit, commit confirmed MINUTES, \
                     rollback N, merge, discard, complete"
                ));
            }
        };
        edited.map_err(|error| error.to_string())?;
        Ok(
            json!({ "done": "ok", "changed": candidate.is_changed(), "outdated": candidate.base() != running }),
        )
    }

    /// Puts a candidate in force and writes the file. All or nothing.
    fn commit(&mut self, session: &str, who: &str, confirm: Option<u64>) -> Result<Value, String> {
        let now = self.now();
        let running = self.configure.running()?;
        let candidate = self.configure.candidate(session, now)?;
        if candidate.base() != running {
            return Err(
                "the configuration has changed since this candidate began: `merge` does your changes on top of it, `discard` drops them"
                    .into(),
            );
        }
        if !candidate.is_changed() {
            if confirm.is_none() && self.configure.unconfirmed.is_some() {
                return self.confirm(who);
            }
            return Ok(done("nothing has changed"));
        }
        let text = candidate.text();
        let told = self.put_in_force(&text, &running, who, confirm)?;
        self.configure.candidates.remove(session);
        Ok(done(&told))
    }

    fn confirm(&mut self, who: &str) -> Result<Value, String> {
        if self.configure.way_back.in_force {
            return Err("it is too late: what was before is in force again".into());
        }
        let waits = self.configure.unconfirmed.take().ok_or("there is nothing to confirm")?;
        self.configure.way_back = WayBack::default();
        Unconfirmed::forget(&self.configure.file);
        tracing::info!("{who} confirmed the configuration of {}", waits.who);
        Ok(done("the configuration is confirmed"))
    }

    /// In this order: checked, on the disk beside the old file, in the history, in force, in the old file's place. What fails undoes what
    /// came before it.
    fn put_in_force(
        &mut self,
        text: &str,
        running: &str,
        who: &str,
        confirm: Option<u64>,
    ) -> Result<String, String> {
        let config = (self.configure.check)(text)?;
        let unwritten = |error: std::io::Error| {
            format!("nothing has changed, the new configuration cannot be written: {error}")
        };
        let file = self.configure.file.clone();
        let prepared = PreparedFile::new(&file, text.as_bytes(), 0o600).map_err(unwritten)?;
        let unix = unix_now();
        let history = self.configure.history.clone();
        history.keep(running, "hand, or before the first commit", unix).map_err(unwritten)?;
        history.keep(text, who, unix).map_err(unwritten)?;
        let earlier = self.configure.unconfirmed.clone();
        let waits = confirm.map(|minutes| Unconfirmed {
            until: unix + 60 * i64::try_from(minutes).unwrap_or(1),
            who: who.into(),
            // Nobody has confirmed an earlier one that still waits: there is nothing good in it to go back to.
            before: earlier.as_ref().map_or_else(|| running.into(), |earlier| earlier.before.clone()),
        });
        let noted = waits.as_ref().map_or(Ok(()), |waits| waits.write(&file));
        let undo = |reason: String| {
            history.take_back(text);
            match &earlier {
                // The other one's note is as it was.
                Some(_) if confirm.is_none() => {}
                Some(earlier) => {
                    if let Err(error) = earlier.write(&file) {
                        tracing::warn!("the note of the commit of {} is not as it was: {error}", earlier.who);
                    }
                }
                None => Unconfirmed::forget(&file),
            }
            reason
        };
        noted.map_err(|error| undo(unwritten(error)))?;
        let told = self.put(config).map_err(|error| undo(format!("nothing has changed: {error}")))?;
        if let Err(error) = prepared.rename() {
            let back = (self.configure.check)(running).and_then(|config| self.put(config));
            let back = back.map_or_else(
                |error| format!("and what was before cannot be put back: {error}"),
                |_| "nothing has changed".into(),
            );
            return Err(undo(format!("{back}, the new configuration cannot be written: {error}")));
        }
        // It is in force and in the file: this is no reason to take it back.
        let told = match prepared.sync() {
            Ok(()) => told,
            Err(error) => format!(
                "{told}; a power cut may bring the old file back, since its directory cannot be flushed: {error}"
            ),
        };
        if waits.is_none() {
            Unconfirmed::forget(&file);
        }
        self.configure.unconfirmed = waits;
        self.configure.way_back = WayBack::default();
        tracing::info!("{who} changed the configuration");
        Ok(match (confirm, earlier) {
            (None, Some(earlier)) => {
                format!("{told}; the commit of {}, which waited for it, is confirmed with it", earlier.who)
            }
            (None, None) => told,
            (Some(minutes), _) => format!(
                "{told}; it goes back by itself in {minutes} minutes unless it is confirmed (commit, or confirm)"
            ),
        })
    }

    /// Notes what a reload has put in force. It confirms nothing: whoever reloads may not know of a commit that waits. Returns what to say
    /// of such a one.
    pub(crate) fn keep_reloaded(&mut self) -> String {
        let kept = self.configure.running().and_then(|text| {
            self.configure.history.keep(&text, "hand (reload)", unix_now()).map_err(|error| error.to_string())
        });
        if let Err(error) = kept {
            tracing::warn!("this version of the configuration is not kept: {error}");
        }
        self.configure.way_back = WayBack::default();
        let waits = self.configure.unconfirmed.as_ref().map(|waits| {
            format!(
                "; the commit of {} is not confirmed yet: unless it is (configure, confirm), all goes back at {} to what was before it",
                waits.who,
                pki::date(waits.until)
            )
        });
        waits.unwrap_or_default()
    }

    /// Takes back a commit that nobody has confirmed in time. What fails is tried again until it is done, or somebody commits.
    pub(crate) fn go_back_when_due(&mut self) {
        let now = self.now();
        let configure = &self.configure;
        let due = configure.unconfirmed.as_ref().filter(|waits| unix_now() >= waits.until);
        let Some(waits) = due.filter(|_| configure.way_back.again.is_none_or(|again| now >= again)).cloned()
        else {
            return;
        };
        if let Err(error) = self.go_back(&waits) {
            let way = &mut self.configure.way_back;
            way.again = Some(now + BACK_AGAIN);
            if std::mem::replace(&mut way.told, error.clone()) != error {
                let file =
                    if way.in_force { "; what was before it is in force, but not in the file" } else { "" };
                tracing::error!(
                    "nobody confirmed the configuration of {}, and it cannot go back yet: {error}{file}",
                    waits.who
                );
            }
            return;
        }
        (self.configure.unconfirmed, self.configure.way_back) = (None, WayBack::default());
        Unconfirmed::forget(&self.configure.file);
        tracing::warn!("nobody confirmed the configuration of {}: it went back", waits.who);
    }

    /// In force first: a disk that is full must keep nobody locked out.
    fn go_back(&mut self, waits: &Unconfirmed) -> Result<(), String> {
        if !self.configure.way_back.in_force {
            let config = (self.configure.check)(&waits.before)?;
            self.put(config)?;
            self.configure.way_back.in_force = true;
        }
        let Configure { file, history, .. } = &self.configure;
        write_atomic(file, waits.before.as_bytes(), 0o600)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        if let Err(error) = history.keep(&waits.before, "nobody's confirming", unix_now()) {
            tracing::warn!("this version of the configuration is not kept: {error}");
        }
        Ok(())
    }
}

fn done(text: &str) -> Value {
    json!({ "done": text })
}
