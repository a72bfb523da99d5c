//! One counter over time, as rates.

use std::collections::VecDeque;

/// Rates that are kept: as many as a sparkline is long.
pub(super) const KEPT: usize = 60;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A counter's rates a second, the newest last.
#[derive(Debug, Default)]
pub(super) struct Series {
    last: Option<f64>,
    rates: VecDeque<f64>,
}

impl Series {
    /// The counter stands at `total` now, `passed` seconds after the time before. A counter that went back was reset.
    pub(super) fn add(&mut self, total: f64, passed: Option<f64>) {
        if let (Some(last), Some(passed)) = (self.last, passed.filter(|passed| *passed > 0.0)) {
            if self.rates.len() == KEPT {
                self.rates.pop_front();
            }
            self.rates.push_back((total - last).max(0.0) / passed);
        }
        self.last = Some(total);
    }

    /// The newest rate; 0 before there is one.
    pub(super) fn rate(&self) -> f64 {
        self.rates.back().copied().unwrap_or(0.0)
    }
}

/// The sum of two series as a line of bars, `width` columns, the highest as high as a line; empty where nothing is known.
pub(super) fn sparkline(one: &Series, other: &Series, width: usize) -> String {
    let width = width.min(KEPT);
    let at = |series: &Series, back: usize| {
        series.rates.len().checked_sub(back).and_then(|at| series.rates.get(at).copied())
    };
    let sums: Vec<Option<f64>> =
        (1..=width).rev().map(|back| Some(at(one, back)? + at(other, back).unwrap_or(0.0))).collect();
    let highest = sums.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |sum: &Option<f64>| match sum {
        Some(sum) if highest > 0.0 => BARS[((sum / highest * 7.0).round() as usize).min(7)],
        Some(_) => BARS[0],
        None => ' ',
    };
    sums.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_a_reset_is_no_flood() {
        let mut series = Series::default();
        let mut rates = Vec::new();
        for total in [100.0, 100.0, 300.0, 50.0] {
            series.add(total, Some(2.0));
            rates.push(series.rate());
        }
        assert_eq!(rates, [0.0, 0.0, 100.0, 0.0]);
        series.add(60.0, Some(0.0));
        assert_eq!(series.rate(), 0.0, "no time has passed");
    }

    #[test]
    fn a_sparkline_ends_with_the_newest() {
        let (mut series, none) = (Series::default(), Series::default());
        for total in [0.0, 0.0, 7.0, 10.0] {
            series.add(total, Some(1.0));
        }
        assert_eq!(sparkline(&series, &none, 5), "  ▁█▄");
        assert_eq!(sparkline(&none, &none, 3), "   ");
        for total in 0..200 {
            series.add(f64::from(total), Some(1.0));
        }
        assert_eq!(sparkline(&series, &none, 500).chars().count(), KEPT);
    }
}
