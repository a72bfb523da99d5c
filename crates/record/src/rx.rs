//! The receiving end of a lane.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;

use crate::aead::Suite;
use crate::keys::Key;
use crate::window::{Place, Window};
use crate::{HEADER_LEN, LaneId, LaneSecret, TAG_LEN, header};

/// How many phases beyond the present one a record may be in: a sender goes on to new keys by their age even while nothing of it
/// gets through, and by age alone an epoch of 15 minutes has seven.
const AHEAD: usize = 8;

/// The distance of the phase before, of which the header has four bits.
const BEFORE: usize = 15;

/// The receiving end of a lane: opens each authentic record once.
pub struct RxLane {
    id: LaneId,
    suite: Suite,
    window: Window,
    /// The phase of `current`.
    phase: u64,
    previous: Option<Key>,
    current: Key,
    /// Of the phases beyond. Derived when a record names one of them, and kept: a forger must not make us derive it for every
    /// datagram.
    ahead: VecDeque<Key>,
    /// The secret of the phase beyond those.
    secret: LaneSecret,
    /// One core owns a lane: `Send`, and not `Sync`.
    _one_owner: PhantomData<Cell<()>>,
}

/// An authentic record that was not seen before.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its number.
    pub number: u64,
    /// Whether no record with a higher number has been opened.
    pub newest: bool,
    /// Its blocks, [`HEADER_LEN`] octets from the start of the datagram.
    pub plaintext: &'a mut [u8],
}

/// Why a datagram is not a record to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than header and tag.
    #[error("too short for a record")]
    TooShort,
    /// Of a type that this protocol version does not have.
    #[error("no record type of this protocol version")]
    UnknownType,
    /// Received before.
    #[error("received before")]
    Replayed,
    /// Behind the window.
    #[error("too far behind the newest record")]
    TooOld,
    /// Neither the present phase, nor the one before, nor one of those that may be due.
    #[error("a phase that is over or not due")]
    WrongPhase,
    /// It does not open.
    #[error("not authentic")]
    NotAuthentic,
}

impl RxLane {
    /// A lane in phase 0 that has received nothing.
    pub fn new(id: LaneId, suite: Suite, secret: LaneSecret) -> Self {
        Self {
            id,
            suite,
            window: Window::new(),
            phase: 0,
            previous: None,
            current: secret.key(suite),
            ahead: VecDeque::new(),
            secret: secret.next(),
            _one_owner: PhantomData,
        }
    }

    /// The lane's name on the wire.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// Opens `datagram` in place, in the order of protocol 4.1: cheap checks, decryption, and only then the mark in
    /// the window. What is in `datagram` after an error is not defined.
    #[inline]
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        header::lane_of(datagram)?;
        let (phase, low) = header::phase_and_number(datagram);
        let number = self.window.recover(low).ok_or(OpenError::TooOld)?;
        match self.window.place(number) {
            Place::Fresh => {}
            Place::Seen => return Err(OpenError::Replayed),
            Place::TooOld => return Err(OpenError::TooOld),
        }
        let distance = usize::from(phase.wrapping_sub(self.phase as u8) & 15);
        let key = match distance {
            0 => &self.current,
            1..=AHEAD => self.key_ahead(distance),
            BEFORE => self.previous.as_ref().ok_or(OpenError::WrongPhase)?,
            _ => return Err(OpenError::WrongPhase),
        };
        let (head, text) = datagram.split_at_mut(HEADER_LEN);
        let head: [u8; HEADER_LEN] = head.try_into().map_err(|_| OpenError::TooShort)?;
        if !key.open(number, head, text) {
            return Err(OpenError::NotAuthentic);
        }
        if (1..=AHEAD).contains(&distance) {
            self.move_on(distance);
        }
        let newest = self.window.mark(number);
        let end = text.len() - TAG_LEN;
        Ok(Opened { number, newest, plaintext: &mut text[..end] })
    }

    /// The key of so many phases beyond the present one.
    #[cold]
    fn key_ahead(&mut self, distance: usize) -> &Key {
        while self.ahead.len() < distance {
            self.ahead.push_back(self.secret.key(self.suite));
            self.secret = self.secret.next();
        }
        &self.ahead[distance - 1]
    }

    /// An authentic record has shown that the sender is so many phases on.
    #[cold]
    fn move_on(&mut self, distance: usize) {
        for key in self.ahead.drain(..distance) {
            self.previous = Some(std::mem::replace(&mut self.current, key));
            self.phase += 1;
        }
    }
}

impl std::fmt::Debug for RxLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RxLane").field("id", &self.id).field("phase", &self.phase).finish_non_exhaustive()
    }
}
