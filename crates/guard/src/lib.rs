//! What watches over segments beside forwarding, as state machines without IO: news of the traffic and `now` go in, frames, states
//! and log-worthy events come out.
//!
//! - [`LoopGuard`]: finds loops by probes, and breaks them.
//! - [`Moves`]: addresses that move too often, and moves that everybody has to hear of.
//! - [`Neighbours`]: who has which IP address, so that questions need not go to everybody.
#![forbid(unsafe_code)]

mod loops;
mod moves;
mod neighbours;
pub mod probe;

pub use loops::{
    BrokenBy, Finding, Loop, LoopGuard, LoopSettings, Mode, Output, Passing, Sessions, State, Through,
    Watched,
};
pub use moves::{Duplicate, MoveLimits, Moved, Moves, Suspect};
pub use neighbours::{Frame, Neighbour, Neighbours, Question, Tally, Verdict};
