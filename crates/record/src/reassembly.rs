//! Joins frames that span several records, whatever order the records come in (protocol 4.2).
//!
//! A piece without *last* goes on in the record with the next number. So each place between two
//! records, an edge, joins at most two fragments: one that ends there and one that begins there. Edges
//! are kept in two rings, by the number of the record on their left; joining is one look-up on each side.

use std::time::Duration;

use wire::buf::{BufPool, PacketBuf};

/// Record numbers over which pieces wait for each other.
const SPAN: u64 = 256;

/// How long pieces wait for each other.
const PATIENCE: Duration = Duration::from_secs(1);

/// Fragments that wait at one time; each holds a buffer.
const MAX_FRAGMENTS: usize = 256;

/// A part of a frame, as it stands in a record.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The record's number.
    pub number: u64,
    /// Whether it is the start of the frame.
    pub first: bool,
    /// Whether it is the end of the frame.
    pub last: bool,
    /// The tunnel ID.
    pub tunnel: u16,
    /// Its octets.
    pub bytes: &'a [u8],
}

/// A piece was given up, and with it the frame that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piece of a frame could not be joined")]
pub struct GaveUp;

/// Consecutive pieces that have been joined.
#[derive(Debug)]
struct Fragment<B> {
    buf: B,
    first: bool,
    last: bool,
    tunnel: u16,
    /// Numbers of the first and the last record that it has octets of.
    records: (u64, u64),
    since: Duration,
}

/// What waits of one lane.
#[derive(Debug)]
pub struct Reassembler<B> {
    fragments: Vec<Option<Fragment<B>>>,
    free: Vec<u16>,
    /// By number of the record on the left: the fragment that ends there.
    ending: Box<[Option<u16>; SPAN as usize]>,
    /// By number of the record on the left: the fragment that begins behind it.
    beginning: Box<[Option<u16>; SPAN as usize]>,
    newest: u64,
    /// Fragments given up since [`Reassembler::expire`] told last.
    given_up: usize,
}

impl<B: PacketBuf> Default for Reassembler<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: PacketBuf> Reassembler<B> {
    /// Nothing waits. Takes all its memory but the buffers at once.
    pub fn new() -> Self {
        Self {
            fragments: (0..MAX_FRAGMENTS).map(|_| None).collect(),
            free: (0..MAX_FRAGMENTS as u16).rev().collect(),
            ending: Box::new([None; SPAN as usize]),
            beginning: Box::new([None; SPAN as usize]),
            newest: 0,
            given_up: 0,
        }
    }

    /// Takes a piece of an authentic record; returns the frame when it is whole.
    pub fn piece<P: BufPool<Buf = B>>(
        &mut self,
        piece: Piece<'_>,
        now: Duration,
        pool: &mut P,
    ) -> Result<Option<B>, GaveUp> {
        let number = piece.number;
        self.newest = self.newest.max(number);
        if self.newest - number > SPAN {
            return Err(GaveUp);
        }
        let before = number.checked_sub(1).filter(|_| !piece.first).and_then(|left| self.take_ending(left));
        let joined = match before {
            Some(mut before) if before.tunnel == piece.tunnel => {
                before.buf.append(piece.bytes.len()).ok_or(GaveUp)?.copy_from_slice(piece.bytes);
                before.last = piece.last;
                before.records.1 = number;
                before
            }
            Some(_) => return Err(GaveUp),
            None => {
                let mut buf = pool.alloc().ok_or(GaveUp)?;
                buf.append(piece.bytes.len()).ok_or(GaveUp)?.copy_from_slice(piece.bytes);
                let Piece { first, last, tunnel, .. } = piece;
                Fragment { buf, first, last, tunnel, records: (number, number), since: now }
            }
        };
        let after = if piece.last { None } else { self.take_beginning(number) };
        let joined = match after {
            Some(after) => join(joined, &after)?,
            None => joined,
        };
        if joined.first && joined.last {
            return Ok(Some(joined.buf));
        }
        self.keep(joined)
    }

    /// Gives up what has waited too long, by time or by record numbers. Returns how many fragments were given up
    /// since the last call.
    pub fn expire(&mut self, now: Duration) -> usize {
        if self.free.len() < MAX_FRAGMENTS {
            for at in 0..MAX_FRAGMENTS as u16 {
                let stale = self.fragments[usize::from(at)].as_ref().is_some_and(|fragment| {
                    now >= fragment.since + PATIENCE || self.newest - fragment.records.1 > SPAN
                });
                if stale {
                    self.give_up(at);
                }
            }
        }
        std::mem::take(&mut self.given_up)
    }

    fn keep(&mut self, fragment: Fragment<B>) -> Result<Option<B>, GaveUp> {
        // Whoever holds the place is at least a whole span older.
        let ends = (!fragment.last).then(|| slot(fragment.records.1));
        let begins = fragment.records.0.checked_sub(1).filter(|_| !fragment.first).map(slot);
        if let Some(old) = ends.and_then(|edge| self.ending[edge]) {
            self.give_up(old);
        }
        if let Some(old) = begins.and_then(|edge| self.beginning[edge]) {
            self.give_up(old);
        }
        let at = self.free.pop().ok_or(GaveUp)?;
        if let Some(edge) = ends {
            self.ending[edge] = Some(at);
        }
        if let Some(edge) = begins {
            self.beginning[edge] = Some(at);
        }
        self.fragments[usize::from(at)] = Some(fragment);
        Ok(None)
    }

    fn take_ending(&mut self, left: u64) -> Option<Fragment<B>> {
        let at = self.ending[slot(left)]?;
        let matches = self.fragments[usize::from(at)].as_ref()?.records.1 == left;
        if matches { self.take(at) } else { None }
    }

    fn take_beginning(&mut self, left: u64) -> Option<Fragment<B>> {
        let at = self.beginning[slot(left)]?;
        let matches = self.fragments[usize::from(at)].as_ref()?.records.0 == left + 1;
        if matches { self.take(at) } else { None }
    }

    fn give_up(&mut self, at: u16) {
        if self.take(at).is_some() {
            self.given_up += 1;
        }
    }

    /// Takes a fragment out, and its edges with it.
    fn take(&mut self, at: u16) -> Option<Fragment<B>> {
        let fragment = self.fragments[usize::from(at)].take()?;
        self.free.push(at);
        let ending = &mut self.ending[slot(fragment.records.1)];
        if *ending == Some(at) {
            *ending = None;
        }
        if let Some(left) = fragment.records.0.checked_sub(1) {
            let beginning = &mut self.beginning[slot(left)];
            if *beginning == Some(at) {
                *beginning = None;
            }
        }
        Some(fragment)
    }
}

fn join<B: PacketBuf>(mut left: Fragment<B>, right: &Fragment<B>) -> Result<Fragment<B>, GaveUp> {
    if left.tunnel != right.tunnel {
        return Err(GaveUp);
    }
    left.buf.append(right.buf.len()).ok_or(GaveUp)?.copy_from_slice(right.buf.data());
    left.last = right.last;
    left.records.1 = right.records.1;
    left.since = left.since.min(right.since);
    Ok(left)
}

fn slot(number: u64) -> usize {
    (number % SPAN) as usize
}
