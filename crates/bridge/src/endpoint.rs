//! Where frames come from and go to.

/// Defines an index into one of the tables.
macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);
    };
}

index!(
    /// A segment of this appliance, counted from 0.
    SegmentIndex
);
index!(
    /// An attachment of this appliance, counted from 0; at most [`Endpoint::MAX_ATTACHMENT`].
    AttachmentIndex
);
index!(
    /// A session: on a server the site's place in the configuration, on a client 0.
    SessionIndex
);
index!(
    /// A remote VXLAN tunnel end point, counted from 0.
    RemoteIndex
);

/// One side of a segment: what a MAC address is learned behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A local attachment, untagged or VLAN.
    Attachment(AttachmentIndex),
    /// A remote VTEP of a local VXLAN attachment.
    Vtep(AttachmentIndex, RemoteIndex),
    /// A session.
    Session(SessionIndex),
}

/// An endpoint as one number, never 0: the form that is stored, compared and handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed(pub(crate) u32);

impl Packed {
    /// The endpoint.
    #[inline]
    pub fn get(self) -> Endpoint {
        Endpoint::unpack(self.0).unwrap_or(Endpoint::Session(SessionIndex(u16::MAX)))
    }

    /// Whether it is a session.
    #[inline]
    pub fn is_session(self) -> bool {
        self.0 & KIND_MASK == KIND_SESSION
    }
}

impl From<Endpoint> for Packed {
    #[inline]
    fn from(endpoint: Endpoint) -> Self {
        Self(endpoint.pack())
    }
}

const KIND_ATTACHMENT: u32 = 1 << 30;
const KIND_VTEP: u32 = 2 << 30;
const KIND_SESSION: u32 = 3 << 30;
const KIND_MASK: u32 = 3 << 30;

impl Endpoint {
    /// Largest attachment index: it shares 32 bits with a kind and a remote index.
    pub const MAX_ATTACHMENT: u16 = (1 << 14) - 1;

    /// The endpoint as a number that is never 0.
    #[inline]
    pub fn pack(self) -> u32 {
        match self {
            Self::Attachment(attachment) => KIND_ATTACHMENT | u32::from(attachment.0),
            Self::Vtep(attachment, remote) => {
                KIND_VTEP | u32::from(attachment.0 & Self::MAX_ATTACHMENT) << 16 | u32::from(remote.0)
            }
            Self::Session(session) => KIND_SESSION | u32::from(session.0),
        }
    }

    /// The endpoint of a packed number; `None` for one that [`Endpoint::pack`] does not make.
    #[inline]
    pub fn unpack(raw: u32) -> Option<Self> {
        let low = raw as u16;
        match raw & KIND_MASK {
            KIND_ATTACHMENT => Some(Self::Attachment(AttachmentIndex(low))),
            KIND_VTEP => {
                Some(Self::Vtep(AttachmentIndex((raw >> 16) as u16 & Self::MAX_ATTACHMENT), RemoteIndex(low)))
            }
            KIND_SESSION => Some(Self::Session(SessionIndex(low))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_round_trips(attachment in 0..=Endpoint::MAX_ATTACHMENT, other: u16) {
            for endpoint in [
                Endpoint::Attachment(AttachmentIndex(attachment)),
                Endpoint::Vtep(AttachmentIndex(attachment), RemoteIndex(other)),
                Endpoint::Session(SessionIndex(other)),
            ] {
                prop_assert_ne!(endpoint.pack(), 0);
                prop_assert_eq!(Endpoint::unpack(endpoint.pack()), Some(endpoint));
            }
        }
    }
}
