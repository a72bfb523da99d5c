//! A request on its way, and what the log says of it: when it is asked, if it may change something, and what became of it.

use super::{Outbox, Piece, Request, Who, looks, masked};

/// A request whose answer is waited for. Dropped before the answer was taken, it is in the log by what became of it, if that is known.
#[derive(Debug)]
pub(crate) struct Asked {
    outbox: Outbox,
    who: Who,
    /// As the log shows it.
    command: String,
    /// By what way it came in; nothing if the log needs to know no more.
    way: Option<&'static str>,
    /// What became of it if there is no answer.
    otherwise: &'static str,
}

impl Asked {
    /// Asks. `way` says in the log how it came in; without, it is not in the log.
    pub(crate) fn new(who: Who, line: String, way: Option<&'static str>) -> (Self, Request) {
        let (outbox, reply) = Outbox::new();
        let command = console::printable(&masked(&line));
        let asked = Self { outbox, who: who.clone(), command, way, otherwise: "cut off" };
        if !looks(&line) {
            asked.log("asked");
        }
        (asked, Request { who, line, reply })
    }

    /// What is asked, without secrets.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// The next piece of the answer.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        let piece = self.outbox.take();
        match &piece {
            Some(Piece::Answer(answer)) => {
                self.log(answer.as_ref().map_or_else(String::as_str, |_| "done"));
                self.way = None;
            }
            None if self.has_ended() => {
                self.log("done");
                self.way = None;
            }
            _ => {}
        }
        piece
    }

    /// Whether all has been taken and nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.outbox.has_ended()
    }

    /// Who asked wants no answer any more.
    pub(crate) fn cancel(&mut self) {
        self.otherwise = "cancelled";
    }

    fn log(&self, result: &str) {
        let Some(way) = self.way else { return };
        let Self { who, command, .. } = self;
        tracing::info!(target: "audit", user = who.user, from = who.from, command, result, "{way}");
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        while self.take().is_some() {}
        self.log(self.otherwise);
    }
}
