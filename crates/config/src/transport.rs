//! `transport`: whether records may go over the TLS connection when UDP does not get through.

use crate::reader::Table;

/// What carries records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP, and TCP when UDP does not get through.
    Auto,
    /// Only UDP.
    Udp,
    /// Only TCP.
    Tcp,
}

/// Reads the key; `allowed` are the choices of this side.
pub(crate) fn read(table: &Table<'_>, allowed: &[Transport]) -> Transport {
    let Some(found) = table.string("transport") else { return Transport::Auto };
    let chosen = allowed.iter().find(|transport| transport.name() == found.value);
    if chosen.is_none() {
        let names: Vec<String> = allowed.iter().map(|transport| format!("{:?}", transport.name())).collect();
        table.fault(
            Some(found.at),
            "transport",
            format!("{:?} is none of {}", found.value, names.join(", ")),
        );
    }
    chosen.copied().unwrap_or(Transport::Auto)
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}
