//! `[loop_guard]` and `[duplicate_mac]`: what watches over all segments, and what a segment says of it.

use std::time::Duration;

use crate::reader::Table;

/// What is done about a loop through a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopGuardMode {
    /// Nobody looks.
    Off,
    /// It is told.
    Watch,
    /// It is told, and broken.
    #[default]
    Block,
}

/// Times of the loop guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopGuard {
    /// How long an attachment listens for its own probes before it forwards; 0: not at all.
    pub listen: Duration,
    /// Between two probes of an attachment.
    pub interval: Duration,
    /// How long an attachment stays blocked after the last sign of the loop, at first.
    pub hold: Duration,
}

/// When an address moves too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicateMac {
    /// So many moves; 0: never.
    pub moves: u32,
    /// Within so long.
    pub window: Duration,
    /// How long it then stays where it is.
    pub hold: Duration,
}

pub(crate) fn loop_guard(root: &Table<'_>) -> LoopGuard {
    let table = root.table_or_empty("loop_guard");
    let number = |key, range, default| table.number(key, range).map_or(default, |found| found.value);
    let read = LoopGuard {
        listen: Duration::from_millis(number("listen_ms", 0..=5000, 300)),
        interval: Duration::from_millis(number("interval_ms", 50..=1000, 250)),
        hold: Duration::from_secs(number("hold_s", 1..=300, 3)),
    };
    table.finish();
    read
}

pub(crate) fn duplicate_mac(root: &Table<'_>) -> DuplicateMac {
    let table = root.table_or_empty("duplicate_mac");
    let number = |key, range, default| table.number(key, range).map_or(default, |found| found.value);
    let read = DuplicateMac {
        moves: number("moves", 0..=1000, 5) as u32,
        window: Duration::from_secs(number("window_s", 1..=3600, 180)),
        hold: Duration::from_secs(number("hold_s", 1..=86_400, 180)),
    };
    table.finish();
    read
}

/// `loop_guard` of a segment.
pub(crate) fn mode(segment: &Table<'_>) -> LoopGuardMode {
    let Some(found) = segment.string("loop_guard") else { return LoopGuardMode::default() };
    match found.value.as_str() {
        "block" => LoopGuardMode::Block,
        "watch" => LoopGuardMode::Watch,
        "off" => LoopGuardMode::Off,
        other => {
            let problem = format!("{other:?} is none of \"block\", \"watch\" and \"off\"");
            segment.fault(Some(found.at), "loop_guard", problem);
            LoopGuardMode::default()
        }
    }
}
