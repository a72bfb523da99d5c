//! A scenario as a table on the terminal.

use crate::report::number::show;
use crate::schema::{Column, Noise, Row, Scenario};

/// Prints a scenario. Ratios are withheld when the machine was not quiet.
pub(crate) fn print(scenario: &Scenario, noise: &Noise) {
    println!("\n== {}: {}", scenario.name, scenario.title);
    let shown: Vec<&Column> = scenario.columns.iter().filter(|column| !column.detail).collect();
    let mut lines = vec![head(&shown)];
    lines.extend(scenario.rows.iter().map(|row| line(row, &shown, noise)));
    print_lines(&lines);
    for note in &scenario.notes {
        println!("  {note}");
    }
}

/// Prints lines of cells, the first column to the left and all others to the right.
pub(crate) fn print_lines(lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// How the machine was, in words.
pub(crate) fn print_noise(noise: &Noise) {
    let Noise { spread_percent, limit_percent, quiet } = noise;
    if *quiet {
        println!("\nnoise: {spread_percent:.1} % (limit {limit_percent:.0} %): quiet enough to compare");
    } else {
        println!(
            "\nnoise: {spread_percent:.1} %, above the limit of {limit_percent:.0} %: ratios, goals and comparisons \
             are withheld. Other programs were running; repeat on a quiet machine."
        );
    }
}

fn head(columns: &[&Column]) -> Vec<String> {
    let title = |column: &&Column| match column.unit.as_str() {
        "" => column.title.clone(),
        unit => format!("{} {unit}", column.title),
    };
    std::iter::once(String::new()).chain(columns.iter().map(title)).collect()
}

fn line(row: &Row, columns: &[&Column], noise: &Noise) -> Vec<String> {
    let cell = |column: &&Column| match row.values.get(&column.key) {
        None => "-".into(),
        Some(_) if column.is_ratio() && !noise.quiet => "withheld".into(),
        Some(value) if value.n > 1 && !column.is_ratio() => {
            format!("{} ±{:.0}%", show(value.median), value.quartiles().spread_percent() / 2.0)
        }
        Some(value) => show(value.median),
    };
    std::iter::once(row.id.clone()).chain(columns.iter().map(cell)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Better, RATIO};

    #[test]
    fn ratios_are_withheld_on_a_noisy_machine() {
        let mut row = Row::new("x");
        row.put("a", vec![100.0, 104.0, 108.0]);
        row.put("r", vec![1.5]);
        let columns =
            [Column::new("a", "A", "clk", Better::Lower), Column::new("r", "R", RATIO, Better::Lower)];
        let columns: Vec<&Column> = columns.iter().collect();
        let quiet = Noise { spread_percent: 1.0, limit_percent: 10.0, quiet: true };
        assert_eq!(head(&columns), ["", "A clk", "R x"]);
        assert_eq!(line(&row, &columns, &quiet), ["x", "104 ±2%", "1.50"]);
        let noisy = Noise { quiet: false, ..quiet };
        assert_eq!(line(&row, &columns, &noisy), ["x", "104 ±2%", "withheld"]);
    }
}
