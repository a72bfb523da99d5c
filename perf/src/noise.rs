//! How steady is the machine? A computation that never changes, bare AES-GCM over the octets of one full record, runs
//! between all that is measured. When its own time varies too much, so do all other figures, and no ratio or
//! comparison is shown.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::clock::Clock;
use crate::schema::Noise;
use crate::stats::{self, Quartiles, drift_percent};

/// Above this many percent the figures of a run are not compared.
pub(crate) const LIMIT_PERCENT: f64 = 10.0;

/// The octets of a record that fills a WAN packet of 1500, about.
const OCTETS: usize = 1440;

/// Calls in one section.
const CALLS: u64 = 16;

/// Sections of which a sample is the median, as with all that is measured.
const SECTIONS: usize = 9;

/// The reference computation and what it took so far, in ticks a call.
pub(crate) struct Probe {
    key: LessSafeKey,
    memory: Vec<u8>,
    samples: Vec<f64>,
}

impl Probe {
    pub(crate) fn new() -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 octets are an AES-128 key");
        Self { key: LessSafeKey::new(key), memory: vec![0; OCTETS], samples: Vec::new() }
    }

    /// Takes one sample.
    pub(crate) fn sample(&mut self, clock: &Clock) {
        let mut section = || {
            let (ticks, ()) = clock.measure(|| {
                for call in 0..CALLS {
                    let mut nonce = [0; 12];
                    nonce[4..].copy_from_slice(&call.to_be_bytes());
                    let nonce = Nonce::assume_unique_for_key(nonce);
                    let aad = Aad::from([0; 8]);
                    let sealed = self.key.seal_in_place_separate_tag(nonce, aad, &mut self.memory);
                    std::hint::black_box(sealed.is_ok());
                }
            });
            ticks / CALLS as f64
        };
        let sample = stats::median(&std::array::from_fn::<f64, SECTIONS, _>(|_| section()));
        self.samples.push(sample);
    }

    /// What the samples say about the machine.
    pub(crate) fn verdict(&self) -> Noise {
        judge(&self.samples)
    }

    /// The median time of the reference, in ticks.
    pub(crate) fn median(&self) -> f64 {
        stats::median(&self.samples)
    }
}

/// The larger of spread and drift, held against the limit.
pub(crate) fn judge(samples: &[f64]) -> Noise {
    let spread = Quartiles::of(samples).map_or(0.0, |quartiles| quartiles.spread_percent());
    let spread_percent = spread.max(drift_percent(samples));
    Noise { spread_percent, limit_percent: LIMIT_PERCENT, quiet: spread_percent <= LIMIT_PERCENT }
}

/// The same with the share of trials that the kernel disturbed: the probe is one program on one core, and sees nothing of
/// the pauses that two programs make for each other and others for them.
pub(crate) fn with_trials(noise: Noise, trials: usize, disturbed: usize) -> Noise {
    let share = 100.0 * disturbed as f64 / trials.max(1) as f64;
    let spread_percent = noise.spread_percent.max(share);
    Noise { spread_percent, quiet: spread_percent <= noise.limit_percent, ..noise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_is_quiet_spread_and_drift_are_not() {
        assert!(judge(&[100.0, 101.0, 99.0, 100.0]).quiet);
        assert!(!judge(&[100.0, 160.0, 90.0, 150.0, 100.0, 170.0]).quiet);
        let drifting = judge(&[100.0, 100.0, 100.0, 100.0, 125.0, 125.0, 125.0, 125.0]);
        assert!(!drifting.quiet && drifting.spread_percent >= 25.0);
        assert!(judge(&[]).quiet, "nothing measured, nothing to doubt");
    }

    #[test]
    fn disturbed_trials_are_noise_too() {
        let quiet = judge(&[100.0; 8]);
        assert!(with_trials(quiet.clone(), 0, 0).quiet && with_trials(quiet.clone(), 100, 9).quiet);
        let noisy = with_trials(quiet, 172, 133);
        assert!(!noisy.quiet && noisy.spread_percent > 77.0);
    }
}
