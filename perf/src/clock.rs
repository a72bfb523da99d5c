//! Time in ticks of the time stamp counter ("clk"), the unit that such figures are given in elsewhere.
//!
//! Reading the counter itself needs `unsafe`. The kernel's monotonic clock is derived from it, so a duration in
//! nanoseconds times the counter's rate is the same number; what one reading costs is measured and subtracted.

use std::time::Instant;

use crate::stats;

/// Turns durations into ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ghz: f64,
    /// What an empty measurement shows, in ns.
    overhead: f64,
}

impl Clock {
    /// Finds out the counter's rate and what a measurement costs.
    pub(crate) fn calibrate() -> Self {
        let empty: Vec<f64> = (0..1001)
            .map(|_| {
                let start = Instant::now();
                start.elapsed().as_nanos() as f64
            })
            .collect();
        let overhead = stats::median(&empty);
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // Without a counter (another architecture) clk is simply ns.
        Self { ghz: tsc_ghz(&text).unwrap_or(1.0), overhead }
    }

    /// Ticks in a ns.
    pub(crate) fn ghz(&self) -> f64 {
        self.ghz
    }

    /// Does `work` and says how many ticks it took.
    #[inline]
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> (f64, T) {
        let start = Instant::now();
        let result = work();
        let ns = start.elapsed().as_nanos() as f64;
        ((ns - self.overhead).max(0.0) * self.ghz, result)
    }
}

/// The counter's rate. Linux sets BogoMIPS to twice its rate in MHz whatever the core's own clock does at the moment,
/// which "cpu MHz" follows on some machines.
fn tsc_ghz(cpuinfo: &str) -> Option<f64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("bogomips"))?;
    let bogomips: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    (bogomips > 100.0).then_some(bogomips / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        assert_eq!(tsc_ghz("processor\t: 0\ncpu MHz\t\t: 800.0\nbogomips\t: 5200.00\n"), Some(2.6));
        assert_eq!(tsc_ghz("processor : 0\nBogoMIPS : 50.00\n"), None, "no such counter on Arm");
    }
}
