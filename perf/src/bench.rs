//! What every scenario shares: clock, noise probe, DPDK, and how much to measure.

use dpdk::{Eal, EalConfig, MbufPool};
use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Clock;
use crate::noise::{self, Probe};
use crate::schema::Noise;

/// How much to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Quick,
    Usual,
    Full,
}

impl Extent {
    /// The value for this extent; a full run measures more rows, not longer.
    pub(crate) fn pick<T>(self, quick: T, usual: T) -> T {
        if self == Self::Quick { quick } else { usual }
    }
}

/// The means of measurement.
pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(crate) probe: Probe,
    pub(crate) extent: Extent,
    eal: Option<Eal>,
    pool: Option<MbufPool>,
    devices: usize,
    trials: usize,
    disturbed: usize,
}

/// Packet buffers: more than any scenario holds at a time.
const BUFFERS: u32 = 8191;

/// Octets of a buffer: the largest frame, with VXLAN around it.
const BUFFER_OCTETS: u16 = 10_240;

impl Bench {
    pub(crate) fn new(extent: Extent) -> Self {
        Self {
            clock: Clock::calibrate(),
            probe: Probe::new(),
            extent,
            eal: None,
            pool: None,
            devices: 0,
            trials: 0,
            disturbed: 0,
        }
    }

    /// DPDK, started when first asked for: the scenarios that need none run without. No hugepages, so that the harness
    /// runs where the demo runs; memory that does not fit the TLB makes for figures that are too high, not too low.
    pub(crate) fn eal(&mut self) -> Result<&Eal, String> {
        if self.eal.is_none() {
            let config = EalConfig { hugepages: false, memory_mb: 384, pci: vec![] };
            self.eal = Some(Eal::init(&config).map_err(|error| error.to_string())?);
        }
        self.eal.as_ref().ok_or_else(|| "DPDK has not been started".into())
    }

    /// The buffer pool of this process.
    pub(crate) fn pool(&mut self) -> Result<MbufPool, String> {
        if let Some(pool) = &self.pool {
            return Ok(pool.clone());
        }
        let pool =
            MbufPool::new(self.eal()?, "perf", BUFFERS, BUFFER_OCTETS).map_err(|error| error.to_string())?;
        Ok(self.pool.insert(pool).clone())
    }

    /// Numbers the devices under test of this run: DPDK's names are used once.
    pub(crate) fn next_device(&mut self) -> usize {
        self.devices += 1;
        self.devices - 1
    }

    /// Takes note of trials on ports, and of those among them that stayed disturbed.
    pub(crate) fn tried(&mut self, trials: usize, disturbed: usize) {
        self.trials += trials;
        self.disturbed += disturbed;
    }

    /// What the probe and the trials say about the machine.
    pub(crate) fn noise(&self) -> Noise {
        noise::with_trials(self.probe.verdict(), self.trials, self.disturbed)
    }

    /// One sample of the noise probe.
    pub(crate) fn probe(&mut self) {
        self.probe.sample(&self.clock);
    }
}

/// Shows how far a scenario is, on stderr and only on a terminal.
pub(crate) fn progress(name: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>12} {bar:40} {pos}/{len} {msg} {eta}");
    let bar = ProgressBar::new(steps as u64).with_prefix(name.to_owned());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
