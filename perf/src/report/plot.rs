//! Plots as SVG, drawn by hand: bars with their quartiles, and lines over a numeric label.

use std::fmt::Write;

use crate::report::html::escape;
use crate::report::number::show;
use crate::schema::{Column, Row, Scenario};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 12.0;
const LINES_HEIGHT: f64 = 280.0;
const BOTTOM: f64 = 34.0;
const BAR: f64 = 18.0;
const BAR_LEFT: f64 = 190.0;

/// Told apart by people who see colours differently, too (after Okabe and Ito).
const COLOURS: &[&str] =
    &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6d31"];

/// The best plot of a column: lines where the rows have a numeric `x` label, else bars. Nothing for less than two values.
pub(crate) fn plot(scenario: &Scenario, column: &Column) -> Option<String> {
    let rows: Vec<&Row> = scenario.rows.iter().filter(|row| row.values.contains_key(&column.key)).collect();
    if rows.len() < 2 {
        return None;
    }
    ["frame", "load", "sessions"]
        .iter()
        .find_map(|x| lines(&rows, column, x))
        .or_else(|| Some(bars(&rows, column)))
}

/// One line.
struct Series<'a> {
    name: &'a str,
    /// x, median, q1, q3.
    points: Vec<[f64; 4]>,
}

fn lines(rows: &[&Row], column: &Column, x_label: &str) -> Option<String> {
    let mut series: Vec<Series<'_>> = Vec::new();
    for row in rows {
        let Ok(x) = row.label_of(x_label).parse::<f64>() else { continue };
        let value = &row.values[&column.key];
        let point = [x, value.median, value.q1, value.q3];
        let name = row.label_of("case");
        match series.iter_mut().find(|known| known.name == name) {
            Some(known) => known.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    series.retain(|series| series.points.len() > 1);
    let points = || series.iter().flat_map(|series| &series.points);
    let low = points().map(|point| point[0]).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point[0]).fold(0.0, f64::max);
    if low <= 0.0 || high <= low {
        return None;
    }
    let top = points().map(|point| point[1]).fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.08;
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, LINES_HEIGHT - TOP - BOTTOM);
    let at_x = |x: f64| LEFT + plot_width * (x / low).ln() / (high / low).ln();
    let at_y = |y: f64| TOP + plot_height * (1.0 - (y / top).min(1.0));
    let mut svg = open(LINES_HEIGHT, column);
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let y = at_y(value);
        let _ = write!(
            svg,
            r##"<line x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}" stroke="#ddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            show(value)
        );
    }
    let mut ticks: Vec<f64> = points().map(|point| point[0]).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for x in ticks {
        let y = LINES_HEIGHT - BOTTOM + 16.0;
        let _ =
            write!(svg, r#"<text x="{:.1}" y="{y:.1}" text-anchor="middle">{}</text>"#, at_x(x), show_x(x));
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle" class="axis">{}</text>"#,
        LEFT + plot_width / 2.0,
        LINES_HEIGHT - 2.0,
        escape(x_label)
    );
    for (at, Series { name, points }) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", at_x(point[0]), at_y(point[1]))).collect();
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{}/>"#,
            path.join(" "),
            if at < COLOURS.len() { "" } else { r#" stroke-dasharray="5 3""# }
        );
        for [x, median, q1, q3] in points {
            let (x, y) = (at_x(*x), at_y(*median));
            let _ = write!(
                svg,
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}" stroke="{colour}"/><circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"><title>{} {}</title></circle>"#,
                at_y(*q1),
                at_y(*q3),
                escape(name),
                show(*median)
            );
        }
        let y = TOP + 14.0 + 17.0 * at as f64;
        let x = WIDTH - RIGHT + 14.0;
        let _ = write!(
            svg,
            r#"<rect x="{x:.1}" y="{:.1}" width="12" height="4" fill="{colour}"/><text x="{:.1}" y="{y:.1}">{}</text>"#,
            y - 6.0,
            x + 18.0,
            escape(name)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

fn bars(rows: &[&Row], column: &Column) -> String {
    let value = |row: &&Row| row.values[&column.key].clone();
    let top = rows.iter().map(|row| value(row).median).fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.05;
    let width = |value: f64| (WIDTH - BAR_LEFT - 90.0) * (value / top).clamp(0.0, 1.0);
    let mut svg = open(TOP + (BAR + 6.0) * rows.len() as f64, column);
    for (at, row) in rows.iter().enumerate() {
        let value = value(row);
        let y = TOP + (BAR + 6.0) * at as f64;
        let middle = y + BAR / 2.0;
        let (from, to, end) = (
            BAR_LEFT + width(value.q1),
            BAR_LEFT + width(value.q3),
            BAR_LEFT + width(value.median).max(width(value.q3)) + 6.0,
        );
        let _ = write!(
            svg,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text><rect x="{BAR_LEFT}" y="{y:.1}" width="{:.1}" height="{BAR}" fill="#0072b2" fill-opacity=".75"/><line x1="{from:.1}" x2="{to:.1}" y1="{middle:.1}" y2="{middle:.1}" stroke="#000" stroke-width="2"/><text x="{end:.1}" y="{:.1}">{}</text>"##,
            BAR_LEFT - 6.0,
            middle + 4.0,
            escape(&row.id),
            width(value.median),
            middle + 4.0,
            show(value.median)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(height: f64, column: &Column) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" aria-label="{}">"#,
        escape(&column.title)
    )
}

/// Positions are whole numbers.
fn show_x(x: f64) -> String {
    format!("{x:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Better;

    fn scenario(labelled: bool) -> Scenario {
        let row = |case: &str, frame: u32, value: f64| {
            let mut row = Row::new(format!("{case}/{frame}")).label("case", case);
            if labelled {
                row = row.label("frame", frame);
            }
            row.put("a", vec![value, value + 2.0]);
            row
        };
        let rows = vec![
            row("<base>", 64, 1.0),
            row("<base>", 128, 2.0),
            row("other", 64, 3.0),
            row("other", 128, 0.0),
        ];
        Scenario { rows, ..Scenario::default() }
    }

    #[test]
    fn numeric_labels_make_lines_and_others_bars() {
        let column = Column::new("a", "A", "clk", Better::Lower);
        let lines = plot(&scenario(true), &column).expect("a plot");
        assert_eq!((lines.matches("<polyline").count(), lines.matches("<circle").count()), (2, 4));
        assert!(lines.contains("&lt;base&gt;") && !lines.contains("NaN"), "{lines}");
        let bars = plot(&scenario(false), &column).expect("a plot");
        assert!(bars.matches("<rect").count() == 4 && !bars.contains("NaN"), "{bars}");
    }

    #[test]
    fn a_single_value_is_no_plot() {
        let column = Column::new("b", "B", "clk", Better::Lower);
        assert!(plot(&scenario(true), &column).is_none());
    }
}
