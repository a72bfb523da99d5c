//! What the data path is to reach, and what the best known one reaches, as data beside the rows.

use crate::schema::{Better, Column, Noise, Scenario};

/// A goal: in this scenario the value `key` of row `row` is to be at most `most`.
struct Goal {
    scenario: &'static str,
    row: &'static str,
    key: &'static str,
    most: f64,
}

const fn goal(scenario: &'static str, row: &'static str, key: &'static str, most: f64) -> Goal {
    Goal { scenario, row, key, most }
}

const GOALS: &[Goal] = &[
    goal("pipeline", "base/64", "encrypt", 100.0),
    goal("pipeline", "base/64", "decrypt", 110.0),
    goal("pipeline", "base/1500", "encrypt", 370.0),
    goal("pipeline", "base/1500", "decrypt", 370.0),
    goal("pipeline", "base/1500", "ratio_encrypt", 1.4),
    goal("pipeline", "base/1500", "ratio_decrypt", 1.4),
    goal("pipeline", "base/1500", "both", 760.0),
    goal("pipeline", "base/imix", "encrypt", 180.0),
    goal("pipeline", "burst-1/64", "encrypt", 450.0),
    // The goal is for one appliance; two are measured.
    goal("latency", "added/64/10", "p99", 30.0),
];

/// VPP v26.10-rc0 built for its CPU, VXLAN and ESP with AES-128-GCM, one core, all nodes without packet generator:
/// row, encrypt, decrypt, both ends (the lower of two figures, with a WAN MTU of 1500, where it fragments).
const VPP: &[(&str, f64, f64, Option<f64>)] = &[
    ("base/64", 217.0, 259.0, None),
    ("base/128", 218.0, 266.0, None),
    ("base/256", 238.0, 299.0, None),
    ("base/512", 275.0, 323.0, None),
    ("base/1024", 345.0, 381.0, None),
    ("base/1500", 416.0, 436.0, Some(2006.0)),
    ("base/imix", 264.0, 300.0, None),
    ("burst-1/64", 1319.0, f64::NAN, None),
];

/// Adds goals and the figures of VPP to a scenario. On a noisy machine goals are shown and not judged.
pub(crate) fn annotate(scenario: &mut Scenario, noise: &Noise) {
    if scenario.name == "pipeline" {
        add_vpp(scenario);
    }
    let mut reached = 0;
    let mut judged = 0;
    for goal in GOALS.iter().filter(|goal| goal.scenario == scenario.name) {
        let Some(row) = scenario.rows.iter_mut().find(|row| row.id == goal.row) else { continue };
        let Some(value) = row.values.get(goal.key).map(|value| value.median) else { continue };
        row.constant(&format!("goal_{}", goal.key), goal.most);
        let Some(column) = scenario.columns.iter().find(|column| column.key == goal.key).cloned() else {
            continue;
        };
        let key = format!("goal_{}", goal.key);
        if !scenario.columns.iter().any(|known| known.key == key) {
            let column = Column::new(&key, &format!("goal {}", column.title), &column.unit, Better::None);
            scenario.columns.push(column.detail());
        }
        let verdict = match noise.quiet {
            false => "not judged, the machine is too noisy".into(),
            // A difference of delays: what was taken off was measured in a worse moment.
            true if value < 0.0 => format!("not judged, {value:.2} is below nothing: noise"),
            true => {
                judged += 1;
                reached += usize::from(value <= goal.most);
                let word = if value <= goal.most { "reached" } else { "missed" };
                format!("{word}: {value:.2}")
            }
        };
        let (title, unit) = (&column.title, &column.unit);
        scenario.notes.push(format!("goal {}: {title} at most {} {unit}: {verdict}", goal.row, goal.most));
    }
    if judged > 0 {
        scenario.notes.push(format!("{reached} of {judged} goals reached"));
    }
}

fn add_vpp(scenario: &mut Scenario) {
    let mut found = false;
    for (id, encrypt, decrypt, both) in VPP {
        let Some(row) = scenario.rows.iter_mut().find(|row| row.id == *id) else { continue };
        found = true;
        row.constant("vpp_encrypt", *encrypt);
        if decrypt.is_finite() {
            row.constant("vpp_decrypt", *decrypt);
        }
        if let Some(both) = both {
            row.constant("vpp_both", *both);
        }
    }
    if found {
        for (key, title) in [("vpp_encrypt", "VPP enc"), ("vpp_decrypt", "VPP dec"), ("vpp_both", "VPP both")]
        {
            scenario.columns.push(Column::new(key, title, "clk", Better::None));
        }
        scenario.notes.push(
            "VPP: v26.10-rc0, VXLAN and ESP with AES-128-GCM, measured elsewhere (2 cores of Zen 5, TSC 2.596 GHz): for \
             orientation, not a comparison. At WAN MTU 1500 it fragments: 2006 to 2461 clk for both ends."
                .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Row;

    fn scenario(clk: f64) -> Scenario {
        let mut row = Row::new("base/64");
        row.put("encrypt", vec![clk]);
        Scenario {
            name: "pipeline".into(),
            columns: vec![Column::new("encrypt", "encrypt", "clk", Better::Lower)],
            rows: vec![row],
            ..Scenario::default()
        }
    }

    #[test]
    fn goals_are_judged_only_on_a_quiet_machine() {
        let quiet = Noise { spread_percent: 1.0, limit_percent: 10.0, quiet: true };
        for (clk, word) in [(99.0, "reached: 99.00"), (101.0, "missed: 101.00")] {
            let mut scenario = scenario(clk);
            annotate(&mut scenario, &quiet);
            assert!(scenario.notes.iter().any(|note| note.contains(word)), "{:?}", scenario.notes);
            assert_eq!(scenario.rows[0].values["goal_encrypt"].median, 100.0);
            assert_eq!(scenario.rows[0].values["vpp_decrypt"].median, 259.0);
        }
        let mut absurd = scenario(-99.0);
        annotate(&mut absurd, &quiet);
        assert!(absurd.notes.iter().any(|note| note.contains("not judged")), "{:?}", absurd.notes);
        let mut noisy = scenario(99.0);
        annotate(&mut noisy, &Noise { quiet: false, ..quiet });
        assert!(noisy.notes.iter().any(|note| note.contains("not judged")));
        assert!(!noisy.notes.iter().any(|note| note.contains("reached")), "{:?}", noisy.notes);
    }
}
