//! What a run is written down as. The field names are the JSON schema (perf/README.md); a change of their meaning is
//! another number in [`SCHEMA`].

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::stats::Quartiles;

/// The schema's number.
pub(crate) const SCHEMA: u32 = 1;

/// The unit of columns that relate two other columns of a row. They are withheld on a noisy machine.
pub(crate) const RATIO: &str = "x";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) host: Host,
    pub(crate) noise: Noise,
    pub(crate) scenarios: Vec<Scenario>,
}

/// Where and with what it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Host {
    pub(crate) revision: String,
    pub(crate) dirty: bool,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) dpdk: String,
    pub(crate) aead: String,
    pub(crate) rustc: String,
    pub(crate) flags: String,
    pub(crate) date: String,
}

/// How steady the machine was: see [`crate::noise`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Noise {
    pub(crate) spread_percent: f64,
    pub(crate) limit_percent: f64,
    pub(crate) quiet: bool,
}

/// One scenario's table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

/// Which way a column's values get better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
    #[default]
    None,
}

/// One column of values.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) key: String,
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) unit: String,
    #[serde(default)]
    pub(crate) better: Better,
    /// Left out on the terminal, which is narrow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) detail: bool,
}

/// One case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Names the case in any run: what a comparison pairs by.
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) labels: IndexMap<String, String>,
    pub(crate) values: IndexMap<String, Value>,
}

/// What was measured in several turns. `n` is 0 for a constant, such as a goal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Value {
    pub(crate) median: f64,
    pub(crate) q1: f64,
    pub(crate) q3: f64,
    #[serde(default)]
    pub(crate) n: usize,
    #[serde(default)]
    pub(crate) samples: Vec<f64>,
    /// The median of each run that was merged into this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<f64>,
}

impl Column {
    pub(crate) fn new(key: &str, title: &str, unit: &str, better: Better) -> Self {
        Self { key: key.into(), title: title.into(), unit: unit.into(), better, detail: false }
    }

    /// The same, left out on the terminal.
    pub(crate) fn detail(self) -> Self {
        Self { detail: true, ..self }
    }

    pub(crate) fn is_ratio(&self) -> bool {
        self.unit == RATIO
    }
}

impl Row {
    pub(crate) fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    pub(crate) fn label(mut self, key: &str, text: impl ToString) -> Self {
        self.labels.insert(key.into(), text.to_string());
        self
    }

    /// Adds what was measured; nothing without samples.
    pub(crate) fn put(&mut self, key: &str, samples: Vec<f64>) {
        if let Some(value) = Value::of(samples) {
            self.values.insert(key.into(), value);
        }
    }

    /// Adds a constant.
    pub(crate) fn constant(&mut self, key: &str, value: f64) {
        let value = Value { median: value, q1: value, q3: value, ..Value::default() };
        self.values.insert(key.into(), value);
    }

    /// A label's text, or nothing.
    pub(crate) fn label_of(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

impl Value {
    /// `None` without samples.
    pub(crate) fn of(samples: Vec<f64>) -> Option<Self> {
        let Quartiles { q1, median, q3 } = Quartiles::of(&samples)?;
        Some(Self { median, q1, q3, n: samples.len(), samples, runs: vec![] })
    }

    pub(crate) fn quartiles(&self) -> Quartiles {
        Quartiles { q1: self.q1, median: self.median, q3: self.q3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_json() {
        let mut row = Row::new("base/64").label("frame", 64);
        row.put("encrypt", vec![3.0, 1.0, 2.0]);
        row.constant("goal", 100.0);
        let report = Report {
            schema: SCHEMA,
            host: Host { cores: 2, ..Host::default() },
            noise: Noise { spread_percent: 1.0, limit_percent: 10.0, quiet: true },
            scenarios: vec![Scenario {
                name: "pipeline".into(),
                columns: vec![Column::new("encrypt", "encrypt", "clk", Better::Lower)],
                rows: vec![row],
                ..Scenario::default()
            }],
        };
        let text = serde_json::to_string(&report).expect("JSON");
        assert!(text.contains(r#""better":"lower""#) && text.contains(r#""median":2.0"#), "{text}");
        let back: Report = serde_json::from_str(&text).expect("the same");
        assert_eq!(back.scenarios[0].rows[0].values["encrypt"].samples, [3.0, 1.0, 2.0]);
        assert_eq!(back.scenarios[0].rows[0].values["goal"].n, 0);
    }

    #[test]
    fn what_others_write_may_leave_out_what_it_does_not_know() {
        let text = r#"{"name":"end-to-end","title":"t","columns":[{"key":"a","title":"A"}],
            "rows":[{"id":"x","values":{"a":{"median":1,"q1":1,"q3":1}}}]}"#;
        let scenario: Scenario = serde_json::from_str(text).expect("a scenario");
        assert_eq!(scenario.columns[0].better, Better::None);
        assert_eq!(scenario.rows[0].values["a"].median, 1.0);
    }

    #[test]
    fn no_samples_make_no_value() {
        let mut row = Row::new("x");
        row.put("a", vec![]);
        assert!(row.values.is_empty());
    }
}
