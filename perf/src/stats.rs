//! The few statistics that the harness uses: order statistics, which a disturbed turn cannot pull far.

/// Median and quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
}

impl Quartiles {
    /// Of `samples`, interpolated between neighbours; `None` without any. Samples that are no number are left out.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = last as f64 * share;
            let low = place as usize;
            let high = (low + 1).min(last);
            sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
        };
        Some(Self { q1: at(0.25), median: at(0.5), q3: at(0.75) })
    }

    /// The distance between the quartiles in percent of the median.
    pub(crate) fn spread_percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { 100.0 * (self.q3 - self.q1) / self.median.abs() }
    }
}

/// The median; 0 without samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    Quartiles::of(samples).map_or(0.0, |quartiles| quartiles.median)
}

/// How far the median of the later half lies from that of the earlier half, in percent of the earlier.
pub(crate) fn drift_percent(samples: &[f64]) -> f64 {
    let (early, late) = samples.split_at(samples.len() / 2);
    match (Quartiles::of(early), Quartiles::of(late)) {
        (Some(early), Some(late)) if early.median != 0.0 => {
            100.0 * (late.median - early.median).abs() / early.median.abs()
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated_and_do_not_depend_on_the_order() {
        let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]).expect("samples");
        assert_eq!(quartiles, Quartiles { q1: 1.75, median: 2.5, q3: 3.25 });
        assert_eq!(quartiles.spread_percent(), 60.0);
    }

    #[test]
    fn few_and_odd_samples() {
        assert_eq!(Quartiles::of(&[]), None);
        assert_eq!(Quartiles::of(&[f64::NAN]), None);
        assert_eq!(Quartiles::of(&[7.0, f64::NAN]), Some(Quartiles { q1: 7.0, median: 7.0, q3: 7.0 }));
        assert_eq!(Quartiles::of(&[0.0, 0.0]).expect("samples").spread_percent(), 0.0);
    }

    #[test]
    fn one_disturbed_turn_does_not_move_the_median() {
        let quiet = Quartiles::of(&[10.0, 11.0, 10.0, 11.0, 10.5]).expect("samples");
        let disturbed = Quartiles::of(&[10.0, 11.0, 10.0, 9000.0, 10.5]).expect("samples");
        assert_eq!(quiet.median, disturbed.median);
    }

    #[test]
    fn drift_is_seen_and_constant_samples_have_none() {
        assert_eq!(drift_percent(&[10.0, 10.0, 15.0, 15.0]), 50.0);
        assert_eq!(drift_percent(&[10.0; 9]), 0.0);
        assert_eq!(drift_percent(&[]), 0.0);
    }
}
