//! The searches of RFC 2544 and RFC 2889: each halves the distance between what went well and what did not.

use std::time::Duration;

use crate::ports::generator::{self, Load, Trial};
use crate::ports::link::Link;

/// Halvings: the result is within 1 % of where the search began.
const STEPS: usize = 7;

/// The highest value between `good` and `bad` that `passes`; `good` is taken for granted.
pub(crate) fn highest(
    (mut good, mut bad): (f64, f64),
    mut passes: impl FnMut(f64) -> Result<bool, String>,
) -> Result<f64, String> {
    if passes(bad)? {
        return Ok(bad);
    }
    for _ in 0..STEPS {
        let middle = (good + bad) / 2.0;
        if passes(middle)? { good = middle } else { bad = middle }
    }
    Ok(good)
}

/// Frames in a second that the device forwards when it is offered as many as its port takes.
pub(crate) fn flood(link: &mut Link, size: usize, frames: u64) -> Result<Trial, String> {
    generator::steady_trial(link, Load { size, rate: f64::INFINITY, frames, new_sources: None })
}

/// RFC 2544 26.1: the highest rate with a loss of at most `loss`. Starts from `flood`, which is what the device forwards
/// at most; a generator that pauses between frames may get a little more out of it.
pub(crate) fn throughput(
    link: &mut Link,
    (size, flood): (usize, f64),
    loss: f64,
    time: Duration,
) -> Result<f64, String> {
    highest((0.0, flood * 1.1), |rate| {
        let frames = (rate * time.as_secs_f64()) as u64;
        let load = Load { size, rate, frames: frames.max(100), new_sources: None };
        Ok(generator::steady_trial(link, load)?.loss() <= loss)
    })
}

/// RFC 2544 26.4: the longest burst at full speed that loses nothing, up to `most`.
pub(crate) fn back_to_back(link: &mut Link, size: usize, rate: f64, most: u64) -> Result<f64, String> {
    highest((1.0, most as f64), |frames| {
        let load = Load { size, rate, frames: frames as u64, new_sources: None };
        Ok(generator::steady_trial(link, load)?.loss() == 0.0)
    })
}

/// RFC 2889 5.8: the highest rate at which all of `macs` new addresses are learned. New ones in each trial, and none known
/// before.
pub(crate) fn learning_rate(link: &mut Link, flood: f64, macs: u64) -> Result<f64, String> {
    highest((0.0, flood), |rate| Ok(learned(link, rate, macs)? >= macs as usize))
}

/// Sends from so many new addresses and returns how many site A knows afterwards, less the teacher's own.
pub(crate) fn learned(link: &mut Link, rate: f64, macs: u64) -> Result<usize, String> {
    link.flush()?;
    generator::teach(link)?;
    let before = link.stats()?.macs[0];
    // From number 1: number 0 is the station that the teacher talks to.
    let load = Load { size: 64, rate, frames: macs, new_sources: Some(1) };
    generator::trial(link, load)?;
    Ok(link.stats()?.macs[0].saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_from_below() {
        let found = highest((0.0, 100.0), |value| Ok(value <= 33.3)).expect("no error");
        assert!(found <= 33.3 && found > 32.0, "{found}");
        assert_eq!(highest((0.0, 100.0), |_| Ok(true)), Ok(100.0));
        assert_eq!(highest((0.0, 100.0), |_| Ok(false)), Ok(0.0));
        assert_eq!(highest((0.0, 1.0), |_| Err("broken".into())), Err("broken".into()));
    }
}
