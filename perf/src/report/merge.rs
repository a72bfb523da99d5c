//! Joins runs of one revision: the same rows, all their samples. Several short runs in turn with those of another
//! revision see the same weather.

use crate::noise::LIMIT_PERCENT;
use crate::schema::{Report, Row, Scenario, Value};

/// Adds `more` to `all`. Rows and scenarios that only one has are kept.
pub(crate) fn merge(all: &mut Report, more: Report) {
    let noise = &mut all.noise;
    noise.spread_percent = noise.spread_percent.max(more.noise.spread_percent);
    noise.limit_percent = LIMIT_PERCENT;
    noise.quiet &= more.noise.quiet;
    for scenario in more.scenarios {
        match all.scenarios.iter_mut().find(|known| known.name == scenario.name) {
            Some(known) => merge_scenario(known, scenario),
            None => all.scenarios.push(scenario),
        }
    }
}

fn merge_scenario(all: &mut Scenario, more: Scenario) {
    for row in more.rows {
        match all.rows.iter_mut().find(|known| known.id == row.id) {
            Some(known) => merge_row(known, row),
            None => all.rows.push(row),
        }
    }
}

fn merge_row(all: &mut Row, more: Row) {
    for (key, value) in more.values {
        let known = all.values.entry(key).or_default();
        let mut samples = std::mem::take(&mut known.samples);
        let mut runs = runs(known);
        runs.extend(self::runs(&value));
        samples.extend(&value.samples);
        // Constants have no samples: either one will do.
        *known = Value::of(samples).map_or(value, |all| Value { runs, ..all });
    }
}

/// The medians of the runs that a value has in it.
fn runs(value: &Value) -> Vec<f64> {
    if value.runs.is_empty() && value.n > 0 { vec![value.median] } else { value.runs.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Host, Noise, SCHEMA};

    fn run(id: &str, samples: &[f64], quiet: bool) -> Report {
        let mut row = Row::new(id);
        row.put("a", samples.to_vec());
        row.constant("goal", 7.0);
        Report {
            schema: SCHEMA,
            host: Host::default(),
            noise: Noise { spread_percent: 1.0, limit_percent: 10.0, quiet },
            scenarios: vec![Scenario { name: "s".into(), rows: vec![row], ..Scenario::default() }],
        }
    }

    #[test]
    fn samples_are_joined_constants_and_lone_rows_kept() {
        let mut all = run("x", &[1.0, 2.0], true);
        merge(&mut all, run("x", &[3.0], true));
        merge(&mut all, run("y", &[9.0], false));
        let rows = &all.scenarios[0].rows;
        assert_eq!((rows[0].values["a"].n, rows[0].values["a"].median), (3, 2.0));
        assert_eq!(rows[0].values["a"].runs, [1.5, 3.0]);
        assert_eq!(rows[0].values["goal"].median, 7.0);
        assert_eq!(rows[1].id, "y");
        assert!(!all.noise.quiet, "one noisy run makes the whole noisy");
    }
}
