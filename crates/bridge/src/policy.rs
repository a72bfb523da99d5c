//! What a segment does beside forwarding.

use std::sync::Arc;

use wire::mac::MacBits;

use crate::egress::EgressFilter;
use crate::reflections::Reflections;
use crate::storm::StormControl;

/// The special treatment that a segment asks for. What is off costs nothing: a frame carries the [`Checks`] of its segment,
/// which are in a register already, and a test of one bit is all that is done for it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Largest IP packet that a TCP handshake through a session may announce room for, by its maximum segment size; 0: as it likes.
    pub clamp: u16,
    /// Whether unicast to an unknown address is dropped and not flooded.
    pub block_unknown: bool,
    /// How many flooded frames a second each side may send: each attachment and each site by itself.
    pub storm: Option<Arc<StormControl>>,
    /// What keeps each site's gateway to itself.
    pub egress: Option<EgressFilter>,
    /// What the control thread wants to see of ARP and neighbour discovery.
    pub neighbours: Neighbours,
    /// Whether frames are captured.
    pub captured: bool,
    /// While the appliance itself asks for answers in the segment: the address that they come to.
    pub own: Option<MacBits>,
    /// The appliance's own address where it asks hosts whether they are there. Their answers go no further.
    pub asks_as: MacBits,
    /// What left, where an attachment gives back what it gets.
    pub reflections: Option<Arc<Reflections>>,
}

/// What the control thread sees of ARP and neighbour discovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Neighbours {
    /// Nothing.
    #[default]
    Unseen,
    /// A copy of each.
    Watched,
    /// A copy of each; and who asks everybody is held back, for the control thread to answer or to pass on.
    Answered,
}

/// What is to be looked at in the frames of a segment, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks(u8);

impl Checks {
    /// Clamp the maximum segment size.
    pub const CLAMP: Self = Self(1);
    /// Limit storms.
    pub const STORM: Self = Self(2);
    /// Filter what would reach a gateway through the tunnel.
    pub const EGRESS: Self = Self(4);
    /// Drop unknown unicast.
    pub const BLOCK_UNKNOWN: Self = Self(8);
    /// Show ARP and neighbour discovery to the control thread.
    pub const NEIGHBOURS: Self = Self(16);
    /// Show frames to captures, and take those to the appliance itself.
    pub const WATCHED: Self = Self(32);
    /// Recognise our own frames that come back.
    pub const REFLECTIONS: Self = Self(64);

    /// Whether any of `wanted` is on.
    #[inline]
    pub fn any(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }

    /// These and `more`.
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    fn when(self, on: bool) -> Self {
        if on { self } else { Self(0) }
    }
}

impl Policy {
    /// Its checks.
    pub fn checks(&self) -> Checks {
        Checks::CLAMP
            .when(self.clamp > 0)
            .and(Checks::STORM.when(self.storm.is_some()))
            .and(Checks::EGRESS.when(self.egress.is_some()))
            .and(Checks::BLOCK_UNKNOWN.when(self.block_unknown))
            .and(Checks::NEIGHBOURS.when(self.neighbours != Neighbours::Unseen))
            .and(Checks::WATCHED.when(self.captured || self.own.is_some()))
            .and(Checks::REFLECTIONS.when(self.reflections.is_some()))
    }
}
