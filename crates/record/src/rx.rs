//! The receiving end of a lane.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::aead::Suite;
use crate::keys::Key;
use crate::window::{Place, Window};
use crate::{HEADER_LEN, LaneId, LaneSecret, TAG_LEN, header};

/// The receiving end of a lane: opens each authentic record once.
pub struct RxLane {
    id: LaneId,
    suite: Suite,
    window: Window,
    /// The phase of `current`.
    phase: u64,
    previous: Option<Key>,
    current: Key,
    /// Derived when due, and kept: a forger must not make us derive it for every datagram.
    next: Key,
    /// The secret of `next`.
    next_secret: LaneSecret,
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
    /// Neither the present phase nor the one before or after.
    #[error("a phase that is over or not due")]
    WrongPhase,
    /// It does not open.
    #[error("not authentic")]
    NotAuthentic,
}

/// Which of the lane's keys a record names.
enum Which {
    Previous,
    Current,
    Next,
}

impl RxLane {
    /// A lane in phase 0 that has received nothing.
    pub fn new(id: LaneId, suite: Suite, secret: LaneSecret) -> Self {
        let next_secret = secret.next();
        Self {
            id,
            suite,
            window: Window::new(),
            phase: 0,
            previous: None,
            current: secret.key(suite),
            next: next_secret.key(suite),
            next_secret,
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
        let which = self.which(phase)?;
        let key = match which {
            Which::Current => &self.current,
            Which::Next => &self.next,
            Which::Previous => self.previous.as_ref().ok_or(OpenError::WrongPhase)?,
        };
        let (head, text) = datagram.split_at_mut(HEADER_LEN);
        let head: [u8; HEADER_LEN] = head.try_into().map_err(|_| OpenError::TooShort)?;
        if !key.open(number, head, text) {
            return Err(OpenError::NotAuthentic);
        }
        if let Which::Next = which {
            self.ratchet();
        }
        let newest = self.window.mark(number);
        let end = text.len() - TAG_LEN;
        Ok(Opened { number, newest, plaintext: &mut text[..end] })
    }

    fn which(&self, phase: u8) -> Result<Which, OpenError> {
        let is = |candidate: u64| (candidate & 15) as u8 == phase;
        if is(self.phase) {
            Ok(Which::Current)
        } else if is(self.phase.wrapping_add(1)) {
            Ok(Which::Next)
        } else if is(self.phase.wrapping_sub(1)) {
            Ok(Which::Previous)
        } else {
            Err(OpenError::WrongPhase)
        }
    }

    #[cold]
    fn ratchet(&mut self) {
        self.next_secret = self.next_secret.next();
        let next = self.next_secret.key(self.suite);
        let current = std::mem::replace(&mut self.next, next);
        self.previous = Some(std::mem::replace(&mut self.current, current));
        self.phase += 1;
    }
}

impl std::fmt::Debug for RxLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RxLane").field("id", &self.id).field("phase", &self.phase).finish_non_exhaustive()
    }
}
