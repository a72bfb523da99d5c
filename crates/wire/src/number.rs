//! Makes the newtypes of numbers with a range, so that each is written once.

/// Defines a number that is only ever within its range.
macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($raw:ty), $min:expr, $max:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// The smallest value.
            pub const MIN: $raw = $min;
            /// The largest value.
            pub const MAX: $raw = $max;

            /// The value, or `None` when it is out of range.
            pub const fn new(raw: $raw) -> Option<Self> {
                match raw {
                    $min..=$max => Some(Self(raw)),
                    _ => None,
                }
            }

            /// The value as a plain number.
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($what, " {}"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::OutOfRange;

            fn from_str(text: &str) -> Result<Self, $crate::OutOfRange> {
                let error = $crate::OutOfRange { what: $what, min: $min as u32, max: $max as u32 };
                text.parse().ok().and_then(Self::new).ok_or(error)
            }
        }
    };
}
pub(crate) use ranged;
