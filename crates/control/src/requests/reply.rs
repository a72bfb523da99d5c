//! Where an answer goes: a box that the handler fills and the reader's side empties, bounded, from any thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Octets of a stream that wait for its reader.
const STREAM_BUFFER: usize = 4 << 20;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// The one answer, or the last line of a stream.
    Answer(Result<Value, String>),
    /// A line of a stream.
    Line(Value),
    /// Octets of a stream, which are no lines.
    Octets(Vec<u8>),
}

/// The reader's side of a [`Reply`].
#[derive(Debug, Default)]
pub(crate) struct Outbox(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    pieces: VecDeque<(usize, Piece)>,
    octets: usize,
    /// Nothing more comes.
    ended: bool,
    /// Nobody reads any more.
    gone: bool,
}

impl Outbox {
    /// A box, and the handler's side of it.
    pub(crate) fn new() -> (Self, Reply) {
        let shared = Self::default();
        let reply = Reply(Some(Arc::clone(&shared.0)));
        (shared, reply)
    }

    /// The next piece, if there is one.
    pub(crate) fn take(&self) -> Option<Piece> {
        let mut inside = lock(&self.0);
        let (octets, piece) = inside.pieces.pop_front()?;
        inside.octets -= octets;
        Some(piece)
    }

    /// Whether all has been taken and nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        let inside = lock(&self.0);
        inside.ended && inside.pieces.is_empty()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut inside = lock(&self.0);
        inside.gone = true;
        inside.pieces.clear();
        inside.octets = 0;
    }
}

/// Somebody who waits for an answer. May be kept, and sent to another thread. Who drops it unanswered leaves an error in its place.
#[derive(Debug)]
pub(crate) struct Reply(Option<Arc<Mutex<Inside>>>);

impl Reply {
    /// Answers.
    pub(crate) fn answer(mut self, answer: Result<Value, String>) {
        if let Some(shared) = self.0.take() {
            end(&shared, Some(Piece::Answer(answer)));
        }
    }

    /// Answers in several lines or chunks from now on.
    pub(crate) fn stream(mut self) -> Stream {
        Stream { shared: self.0.take().unwrap_or_default(), lost: 0 }
    }

    /// Whether nobody waits any more, so that what is still done for the answer can end.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| lock(shared).gone)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            end(&shared, Some(Piece::Answer(Err("this was not answered".into()))));
        }
    }
}

/// An answer of several lines or chunks. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Mutex<Inside>>,
    lost: u64,
}

impl Stream {
    /// Adds a line. False: there was no room for it, and it is lost.
    pub(crate) fn line(&mut self, line: Value) -> bool {
        let octets = line.to_string().len() + 1;
        self.push(octets, Piece::Line(line))
    }

    /// Adds octets, whole or not at all. False: there was no room for them, and they are lost.
    pub(crate) fn octets(&mut self, octets: Vec<u8>) -> bool {
        self.push(octets.len(), Piece::Octets(octets))
    }

    /// Ends with a last line, which always has room.
    pub(crate) fn finish(self, answer: Result<Value, String>) {
        end(&self.shared, Some(Piece::Answer(answer)));
    }

    /// Pieces that there was no room for.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.shared).gone
    }

    fn push(&mut self, octets: usize, piece: Piece) -> bool {
        let mut inside = lock(&self.shared);
        // One piece has always room in an empty box.
        let fits = inside.octets == 0 || inside.octets + octets <= STREAM_BUFFER;
        if fits && !inside.gone {
            inside.octets += octets;
            inside.pieces.push_back((octets, piece));
        } else {
            self.lost += 1;
        }
        fits
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        end(&self.shared, None);
    }
}

/// What the socket writes of an answer.
pub(crate) fn line(answer: &Result<Value, String>) -> String {
    let mut line = match answer {
        Ok(value) => value.to_string(),
        Err(error) => json!({ "error": error }).to_string(),
    };
    line.push('\n');
    line
}

fn end(shared: &Mutex<Inside>, last: Option<Piece>) {
    let mut inside = lock(shared);
    if !inside.ended && !inside.gone {
        inside.pieces.extend(last.map(|piece| (0, piece)));
    }
    inside.ended = true;
}

fn lock(shared: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    // A thread that panicked has left whole pieces behind.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_once_and_ends() {
        let (outbox, reply) = Outbox::new();
        assert!(outbox.take().is_none() && !outbox.has_ended());
        reply.answer(Ok(json!(1)));
        assert_eq!(outbox.take(), Some(Piece::Answer(Ok(json!(1)))));
        assert!(outbox.has_ended());
    }

    #[test]
    fn a_dropped_reply_is_an_error_for_who_waits() {
        let (outbox, reply) = Outbox::new();
        drop(reply);
        assert!(matches!(outbox.take(), Some(Piece::Answer(Err(_)))));
        assert!(outbox.has_ended());
    }

    #[test]
    fn a_stream_is_bounded_and_notices_when_nobody_reads() {
        let (outbox, reply) = Outbox::new();
        let mut stream = reply.stream();
        assert!(stream.line(json!("first")));
        assert!(stream.octets(vec![0; STREAM_BUFFER / 2]));
        assert!(!stream.octets(vec![0; STREAM_BUFFER]), "no room");
        assert_eq!(stream.lost(), 1);
        assert_eq!(outbox.take(), Some(Piece::Line(json!("first"))));
        assert!(matches!(outbox.take(), Some(Piece::Octets(_))));
        assert!(stream.octets(vec![0; STREAM_BUFFER]), "all was taken");
        drop(outbox);
        assert!(stream.is_gone());
        stream.finish(Ok(Value::Null));
    }
}
