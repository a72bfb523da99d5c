//! What changed between two runs.
//!
//! A value has changed when all of this holds; everything else lies within the noise:
//! - each side's median lies outside the other's quartiles;
//! - the medians are further apart than the reference computation varied, and than [`LEAST_PERCENT`];
//! - with several runs a side (`./dev bench --against`): every run of one side lies beyond every run of the other, and the
//!   sides are further apart than the runs of either; with a single run: the medians are [`SINGLE_PERCENT`] apart.
//!
//! The last is about what differs from one start of a program to the next: where its memory lies moves all turns of a row
//! together, by some 7 % here, and does not show in its quartiles.

use crate::report::number::show;
use crate::report::table;
use crate::schema::{Better, Column, Report, Row, Value};

/// Smaller differences come from where the linker puts things.
const LEAST_PERCENT: f64 = 1.0;

/// The same program differs as much from itself from one start to the next.
const SINGLE_PERCENT: f64 = 8.0;

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// Changed, in a column where neither direction is better.
    Changed,
    /// The difference lies within the noise.
    Noise,
    /// Nothing to hold against each other: too few samples.
    Unsure,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Changed => "changed",
            Self::Noise => "within the noise",
            Self::Unsure => "one sample: unsure",
        }
    }
}

/// Holds two values against each other: the difference in percent of `before`, and what it means.
pub(crate) fn judge(column: &Column, before: &Value, after: &Value, least_percent: f64) -> (f64, Verdict) {
    let percent = match before.median {
        0.0 if after.median == 0.0 => 0.0,
        0.0 => f64::INFINITY,
        median => 100.0 * (after.median - median) / median.abs(),
    };
    if before.n.min(after.n) < 2 {
        return (percent, Verdict::Unsure);
    }
    let within = |value: f64, other: &Value| (other.q1..=other.q3).contains(&value);
    if percent.abs() < least_percent.max(LEAST_PERCENT)
        || within(after.median, before)
        || within(before.median, after)
        || !runs_differ(before, after, percent)
    {
        return (percent, Verdict::Noise);
    }
    let verdict = match (column.better, percent > 0.0) {
        (Better::None, _) => Verdict::Changed,
        (Better::Higher, true) | (Better::Lower, false) => Verdict::Better,
        _ => Verdict::Worse,
    };
    (percent, verdict)
}

/// Whether the runs of both sides lie apart.
fn runs_differ(before: &Value, after: &Value, percent: f64) -> bool {
    let range = |runs: &[f64]| {
        let low = runs.iter().copied().fold(f64::INFINITY, f64::min);
        (low, runs.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    if before.runs.len().min(after.runs.len()) < 2 {
        return percent.abs() >= SINGLE_PERCENT;
    }
    let ((low, high), (low_after, high_after)) = (range(&before.runs), range(&after.runs));
    let widest = (high - low).max(high_after - low_after);
    (high < low_after || high_after < low) && (after.median - before.median).abs() > widest
}

/// Prints the comparison, row by row. Returns false when it is refused because a run was noisy.
pub(crate) fn print(before: &Report, after: &Report) -> bool {
    let name = |report: &Report| {
        let dirty = if report.host.dirty { " with changes" } else { "" };
        format!(
            "{}{dirty}, {}, {}, {}",
            report.host.revision, report.host.cpu, report.host.aead, report.host.date
        )
    };
    println!("before: {}\nafter:  {}", name(before), name(after));
    if before.host.cpu != after.host.cpu {
        println!("The processors differ: only a run on the same machine says what the code changed.");
    }
    for (which, report) in [("before", before), ("after", after)] {
        if !report.noise.quiet {
            println!("The run {which} is too noisy to be compared:");
            table::print_noise(&report.noise);
            return false;
        }
    }
    let least = before.noise.spread_percent.max(after.noise.spread_percent).max(LEAST_PERCENT);
    println!("differences of less than {least:.1} % are within the noise of these runs");
    for scenario in &after.scenarios {
        let Some(old) = before.scenarios.iter().find(|old| old.name == scenario.name) else {
            println!("\n== {}: new", scenario.name);
            continue;
        };
        println!("\n== {}", scenario.name);
        let mut lines = vec![["", "", "before", "after", "", ""].map(String::from).to_vec()];
        let mut tally = [0; 3];
        for row in &scenario.rows {
            match old.rows.iter().find(|old| old.id == row.id) {
                Some(old) => compare_row(&mut lines, &mut tally, (&scenario.columns, least), old, row),
                None => lines.push(vec![row.id.clone(), "new".into()]),
            }
        }
        table::print_lines(&lines);
        let [better, worse, noise] = tally;
        println!("{better} better, {worse} worse, {noise} within the noise");
    }
    true
}

fn compare_row(
    lines: &mut Vec<Vec<String>>,
    tally: &mut [usize; 3],
    (columns, least): (&[Column], f64),
    old: &Row,
    new: &Row,
) {
    for column in columns.iter().filter(|column| !column.detail && column.better != Better::None) {
        let (Some(before), Some(after)) = (old.values.get(&column.key), new.values.get(&column.key)) else {
            continue;
        };
        let (percent, verdict) = judge(column, before, after, least);
        match verdict {
            Verdict::Better => tally[0] += 1,
            Verdict::Worse => tally[1] += 1,
            Verdict::Noise => tally[2] += 1,
            _ => {}
        }
        let value =
            |value: &Value| format!("{} [{}..{}]", show(value.median), show(value.q1), show(value.q3));
        lines.push(vec![
            new.id.clone(),
            format!("{} {}", column.title, column.unit),
            value(before),
            value(after),
            format!("{percent:+.1} %"),
            verdict.word().into(),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(samples: &[f64]) -> Value {
        Value::of(samples.to_vec()).expect("samples")
    }

    fn lower() -> Column {
        Column::new("a", "A", "clk", Better::Lower)
    }

    #[test]
    fn a_clear_difference_has_a_direction() {
        let (slow, fast) = (value(&[100.0, 101.0, 102.0]), value(&[80.0, 81.0, 82.0]));
        assert_eq!(judge(&lower(), &slow, &fast, 0.0).1, Verdict::Better);
        assert_eq!(judge(&lower(), &fast, &slow, 0.0).1, Verdict::Worse);
        let higher = Column { better: Better::Higher, ..lower() };
        assert_eq!(judge(&higher, &fast, &slow, 0.0).1, Verdict::Better);
        let neither = Column { better: Better::None, ..lower() };
        assert_eq!(judge(&neither, &fast, &slow, 0.0), (100.0 * 20.0 / 81.0, Verdict::Changed));
    }

    #[test]
    fn overlapping_quartiles_and_tiny_differences_are_noise() {
        let (a, b) = (value(&[90.0, 100.0, 110.0, 120.0]), value(&[95.0, 108.0, 118.0, 130.0]));
        assert_eq!(judge(&lower(), &a, &b, 0.0).1, Verdict::Noise);
        let (a, b) = (value(&[100.0, 100.0, 100.0]), value(&[100.5, 100.5, 100.5]));
        assert_eq!(judge(&lower(), &a, &b, 0.0).1, Verdict::Noise);
        let (a, b) = (value(&[100.0, 101.0, 102.0]), value(&[110.0, 111.0, 112.0]));
        assert_eq!(judge(&lower(), &a, &b, 3.0).1, Verdict::Worse);
        assert_eq!(judge(&lower(), &a, &b, 12.0).1, Verdict::Noise, "the machine itself varied as much");
    }

    #[test]
    fn one_sample_proves_nothing_and_zero_divides_nothing() {
        assert_eq!(judge(&lower(), &value(&[1.0]), &value(&[2.0]), 0.0), (100.0, Verdict::Unsure));
        let zero = value(&[0.0, 0.0]);
        assert_eq!(judge(&lower(), &zero, &zero, 0.0), (0.0, Verdict::Noise));
        assert_eq!(judge(&lower(), &zero, &value(&[1.0, 1.0]), 0.0).1, Verdict::Worse);
    }

    #[test]
    fn runs_that_overlap_are_noise_and_runs_that_lie_apart_are_not() {
        let value = |samples: &[f64], runs: &[f64]| Value { runs: runs.to_vec(), ..value(samples) };
        let before = value(&[100.0, 100.1, 103.0, 103.1], &[100.0, 103.0]);
        let overlapping = value(&[104.0, 104.1, 108.0, 108.1], &[102.0, 108.0]);
        assert_eq!(judge(&lower(), &before, &overlapping, 1.0).1, Verdict::Noise);
        let apart = value(&[106.0, 106.1, 107.0, 107.1], &[106.0, 107.0]);
        assert_eq!(judge(&lower(), &before, &apart, 1.0).1, Verdict::Worse);
    }

    #[test]
    fn single_runs_must_differ_by_more_than_a_program_from_itself() {
        let (a, b) = (value(&[100.0, 100.1, 100.2]), value(&[105.0, 105.1, 105.2]));
        assert_eq!(judge(&lower(), &a, &b, 1.0).1, Verdict::Noise);
    }
}
