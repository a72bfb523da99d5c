//! Sends numbered frames into side A of the device under test at a steady rate and counts what comes out of side B.
//!
//! Each frame carries the moment at which it *should* have been sent. Its delay counts from then: a generator that was
//! held up by the device, or by the kernel, does not make the delays look better ("coordinated omission").

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use dpdk::Mbuf;
use hdrhistogram::Histogram;
use wire::buf::{BufPool, PacketBuf};
use wire::mac::MacAddr;

use crate::frames;
use crate::ports::Side;
use crate::ports::link::Link;

/// Frames sent and received with one call.
const BATCH: usize = 32;

/// Addresses, VLAN tag, Ethertype, number, time.
const HEADER: usize = 12 + 4 + 2 + 8 + 8;

/// A gap in either program's loop that the kernel must have made, since a round takes less than 100 us. During
/// 1 ms the ring of a port overflows at 1 Mpps.
const DISTURBED: Duration = Duration::from_micros(700);

/// How often a trial is tried.
const ATTEMPTS: usize = 6;

/// Frames on their way are waited for until none has come for so long.
const SILENCE: Duration = Duration::from_millis(20);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Octets of a frame with its VLAN tag and without FCS: as many as an untagged one with FCS.
    pub(crate) size: usize,
    /// Frames in a second; infinite for as fast as the port takes them.
    pub(crate) rate: f64,
    /// Frames in all.
    pub(crate) frames: u64,
    /// Number of the first source address; all frames have another one.
    pub(crate) new_sources: Option<usize>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) sent: u64,
    /// Frames that the port did not take since its ring was full.
    pub(crate) refused: u64,
    pub(crate) received: u64,
    pub(crate) out_of_order: u64,
    /// From the first frame to the last sent.
    pub(crate) elapsed: Duration,
    /// Delays in ns.
    pub(crate) delays: Histogram<u32>,
    /// Whether the kernel took the core away from one of both programs meanwhile.
    pub(crate) disturbed: bool,
}

impl Trial {
    /// The share of the offered frames that did not arrive.
    pub(crate) fn loss(&self) -> f64 {
        let offered = self.sent + self.refused;
        if offered == 0 { 0.0 } else { 1.0 - self.received as f64 / offered as f64 }
    }

    /// Frames forwarded in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.received as f64 / self.elapsed.as_secs_f64()
    }
}

/// Makes site A know where the destination is: a frame comes from there.
pub(crate) fn teach(link: &mut Link) -> Result<(), String> {
    for _ in 0..3 {
        let mut frame = link.pool.alloc().ok_or("no buffer to teach with")?;
        fill(&mut frame, 64, (frames::destination(0), frames::source(0)), 0, 0)
            .ok_or("no room in a buffer")?;
        let mut burst: ArrayVec<Mbuf, BATCH> = ArrayVec::from_iter([frame]);
        link.b.1.burst(&mut burst);
        std::thread::sleep(Duration::from_millis(2));
        drain(link, Side::A);
        drain(link, Side::B);
    }
    Ok(())
}

/// Throws away what has arrived on a side.
pub(crate) fn drain(link: &mut Link, side: Side) {
    let mut burst: ArrayVec<Mbuf, BATCH> = ArrayVec::new();
    let rx = if side == Side::A { &mut link.a.0 } else { &mut link.b.0 };
    while rx.burst(&mut burst) > 0 {
        dpdk::free_burst(&mut burst);
    }
}

/// Sends and counts.
pub(crate) fn trial(link: &mut Link, load: Load) -> Result<Trial, String> {
    link.stats()?; // starts the device's account of its own gaps
    drain(link, Side::B);
    let mut trial = Trial {
        sent: 0,
        refused: 0,
        received: 0,
        out_of_order: 0,
        elapsed: Duration::ZERO,
        delays: Histogram::new_with_bounds(1, 10_000_000_000, 3).map_err(|error| error.to_string())?,
        disturbed: false,
    };
    let mut next = 0;
    let (mut last, mut longest) = (Duration::ZERO, Duration::ZERO);
    let start = Instant::now();
    let mut heard = Duration::ZERO;
    loop {
        let now = start.elapsed();
        longest = longest.max(now - last);
        last = now;
        let offered = trial.sent + trial.refused;
        if offered < load.frames {
            let due =
                if load.rate.is_finite() { (now.as_secs_f64() * load.rate) as u64 + 1 } else { u64::MAX };
            let count = due.min(load.frames).saturating_sub(offered).min(BATCH as u64);
            if count > 0 {
                send(link, &load, &mut trial, count, now)?;
                trial.elapsed = start.elapsed();
            }
            heard = now;
        } else if trial.received >= trial.sent || now > heard + SILENCE {
            break;
        }
        if receive(link, &mut trial, &mut next, start) {
            heard = now;
        }
    }
    let device = Duration::from_micros(link.stats()?.longest_gap_us);
    trial.disturbed = longest.max(device) > DISTURBED;
    Ok(trial)
}

/// As [`trial`], up to [`ATTEMPTS`] times while it is disturbed. Returns the last one, whatever it was, and counts in
/// `link` what stayed disturbed.
pub(crate) fn steady_trial(link: &mut Link, load: Load) -> Result<Trial, String> {
    let mut last = trial(link, load)?;
    for attempt in 1..ATTEMPTS {
        if !last.disturbed {
            break;
        }
        // What disturbs may end.
        std::thread::sleep(Duration::from_millis(10 << attempt));
        last = trial(link, load)?;
    }
    link.trials += 1;
    link.disturbed += usize::from(last.disturbed);
    Ok(last)
}

#[inline]
fn send(link: &mut Link, load: &Load, trial: &mut Trial, count: u64, now: Duration) -> Result<(), String> {
    let mut burst: ArrayVec<Mbuf, BATCH> = ArrayVec::new();
    let first = trial.sent + trial.refused;
    for number in first..first + count {
        let Some(mut frame) = link.pool.alloc() else { break };
        let intended = if load.rate.is_finite() {
            (number as f64 * 1e9 / load.rate) as u64
        } else {
            now.as_nanos() as u64
        };
        let source = load.new_sources.map_or(0, |first| first + number as usize);
        let addresses = (frames::source(source), frames::destination(0));
        fill(&mut frame, load.size, addresses, number, intended).ok_or("no room in a buffer")?;
        burst.push(frame);
    }
    trial.sent += link.a.1.burst(&mut burst) as u64;
    if load.rate.is_finite() {
        // As at a line that does not wait.
        trial.refused += burst.len() as u64;
    }
    dpdk::free_burst(&mut burst);
    Ok(())
}

#[inline]
fn receive(link: &mut Link, trial: &mut Trial, next: &mut u64, start: Instant) -> bool {
    let mut burst: ArrayVec<Mbuf, BATCH> = ArrayVec::new();
    if link.b.0.burst(&mut burst) == 0 {
        return false;
    }
    let now = start.elapsed().as_nanos() as u64;
    for frame in &burst {
        let Some((number, intended)) = read(frame.data()) else { continue };
        trial.received += 1;
        trial.out_of_order += u64::from(number < *next);
        *next = number + 1;
        trial.delays.saturating_record(now.saturating_sub(intended).max(1));
    }
    dpdk::free_burst(&mut burst);
    true
}

/// Only the front is written: what is behind it is what was in the buffer before.
#[inline]
fn fill(frame: &mut Mbuf, size: usize, addresses: (MacAddr, MacAddr), number: u64, time: u64) -> Option<()> {
    let octets = frame.append(size)?;
    let (source, destination) = addresses;
    octets[..6].copy_from_slice(&destination.0);
    octets[6..12].copy_from_slice(&source.0);
    octets[12..18].copy_from_slice(&[0x81, 0, 0, 1, 0x88, 0xb5]);
    octets[18..26].copy_from_slice(&number.to_be_bytes());
    octets[26..HEADER].copy_from_slice(&time.to_be_bytes());
    Some(())
}

/// Number and time of a frame of ours.
#[inline]
fn read(data: &[u8]) -> Option<(u64, u64)> {
    let header: &[u8; HEADER] = data.first_chunk()?;
    if header[12..18] != [0x81, 0, 0, 1, 0x88, 0xb5] {
        return None;
    }
    let number = |at: usize| header[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    Some((number(18)?, number(26)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_rate() {
        let trial = Trial {
            sent: 900,
            refused: 100,
            received: 750,
            out_of_order: 0,
            elapsed: Duration::from_millis(500),
            delays: Histogram::new(3).expect("valid"),
            disturbed: false,
        };
        assert_eq!((trial.loss(), trial.rate()), (0.25, 1500.0));
    }

    #[test]
    fn only_our_frames_are_counted() {
        let mut frame = vec![0; 64];
        assert_eq!(read(&frame), None);
        frame[12..18].copy_from_slice(&[0x81, 0, 0, 1, 0x88, 0xb5]);
        (frame[25], frame[33]) = (7, 9);
        assert_eq!(read(&frame), Some((7, 9)));
        assert_eq!(read(&frame[..HEADER - 1]), None);
    }
}
