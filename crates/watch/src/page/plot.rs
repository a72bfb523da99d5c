//! Plots of the last hour as SVG: what came in above, what went out over it, and shades where the thing was down.

use std::collections::VecDeque;
use std::fmt::Write;

use super::html::bits;
use crate::history::{POINTS, Series};

/// A plot in a table: one point a minute.
pub(super) fn small(out: &mut String, series: &Series) {
    const SIZE: Frame = Frame { left: 0.0, top: 2.0, width: 160.0, height: 32.0 };
    let top = peak(series).max(1.0);
    let _ = write!(
        out,
        "<svg class=\"spark\" viewBox=\"0 0 160 36\" preserveAspectRatio=\"none\" role=\"img\">\
         <title>the last hour, at most {}</title>",
        bits(peak(series))
    );
    SIZE.shades(out, &series.up, 60);
    SIZE.curve(out, &series.into, top, 60, "in");
    SIZE.curve(out, &series.out, top, 60, "out");
    out.push_str("</svg>");
}

/// The plot of everything, with its axes, for wide windows and for narrow ones.
pub(super) fn large(out: &mut String, series: &Series) {
    axes(out, series, "wide", (960.0, 232.0), POINTS, 1);
    axes(out, series, "narrow", (400.0, 210.0), POINTS / 2, 2);
}

/// `quarters` is how many quarters of an hour lie between the marks.
fn axes(
    out: &mut String,
    series: &Series,
    class: &str,
    (width, height): (f32, f32),
    points: usize,
    quarters: usize,
) {
    let frame = Frame { left: 76.0, top: 10.0, width: width - 86.0, height: height - 42.0 };
    let top = round_up(f64::from(peak(series)) * 8.0) as f32 / 8.0;
    let _ = write!(
        out,
        "<svg class=\"plot {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\"><title>Traffic of the last hour</title>"
    );
    frame.shades(out, &series.up, points);
    for step in 0..=4 {
        let share = step as f32 / 4.0;
        let y = frame.top + frame.height * (1.0 - share);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            frame.left,
            frame.left + frame.width,
            frame.left - 8.0,
            y + 4.0,
            bits(top * share)
        );
    }
    for quarter in (0..=4).step_by(quarters) {
        let x = frame.left + frame.width * quarter as f32 / 4.0;
        let (label, anchor) = match quarter {
            0 => ("60 min ago".into(), "start"),
            4 => ("now".into(), "end"),
            _ => (format!("{} min", 60 - 15 * quarter), "middle"),
        };
        let y = height - 10.0;
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
        );
    }
    frame.curve(out, &series.into, top, points, "in");
    frame.curve(out, &series.out, top, points, "out");
    out.push_str("</svg>");
}

/// What the colours mean.
pub(super) fn legend(out: &mut String, into: &str, from: &str, shades: bool) {
    let down = if shades { " <span class=\"key down\"></span>down" } else { "" };
    let _ = write!(
        out,
        "<p class=\"legend\"><span class=\"key in\"></span>{into} <span class=\"key out\"></span>{from}{down}</p>"
    );
}

struct Frame {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Frame {
    fn x(&self, at: usize, points: usize) -> f32 {
        self.left + self.width * at as f32 / (points - 1) as f32
    }

    /// A filled curve of so many points over the whole hour; what there is stands at the right.
    fn curve(&self, out: &mut String, values: &VecDeque<f32>, top: f32, points: usize, class: &str) {
        let values = thinned(values, points);
        if values.len() < 2 {
            return;
        }
        let first = points - values.len();
        let mut line = String::new();
        for (at, value) in values.iter().enumerate() {
            let y = self.top + self.height * (1.0 - (value / top).clamp(0.0, 1.0));
            let _ =
                write!(line, "{}{:.1} {y:.1}", if at == 0 { "M" } else { "L" }, self.x(first + at, points));
        }
        let floor = self.top + self.height;
        let (left, right) = (self.x(first, points), self.x(points - 1, points));
        let _ = write!(
            out,
            "<path class=\"area {class}\" d=\"{line}L{right:.1} {floor:.1}L{left:.1} {floor:.1}Z\"/>\
             <path class=\"line {class}\" d=\"{line}\"/>"
        );
    }

    /// Where it was down.
    fn shades(&self, out: &mut String, up: &VecDeque<bool>, points: usize) {
        let up: Vec<bool> = thinned(&up.iter().map(|up| f32::from(u8::from(!up))).collect(), points)
            .into_iter()
            .map(|down| down == 0.0)
            .collect();
        let first = points - up.len();
        let mut at = 0;
        while at < up.len() {
            let length = up[at..].iter().take_while(|now| **now == up[at]).count();
            if !up[at] {
                let (left, right) = (self.x(first + at, points), self.x(first + at + length, points));
                let _ = write!(
                    out,
                    "<rect class=\"down\" x=\"{left:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\"/>",
                    self.top,
                    (right.min(self.left + self.width) - left).max(1.0),
                    self.height
                );
            }
            at += length;
        }
    }
}

/// The highest of each few neighbours, so that an hour fits into so many points.
fn thinned(values: &VecDeque<f32>, points: usize) -> Vec<f32> {
    let each = POINTS / points;
    let rest = values.len() % each;
    let (head, tail): (Vec<f32>, Vec<f32>) =
        (values.iter().take(rest).copied().collect(), values.iter().skip(rest).copied().collect());
    let highest = |some: &[f32]| some.iter().copied().fold(0.0, f32::max);
    let head = (!head.is_empty()).then(|| highest(&head));
    head.into_iter().chain(tail.chunks(each).map(highest)).collect()
}

fn peak(series: &Series) -> f32 {
    series.into.iter().chain(&series.out).copied().fold(0.0, f32::max)
}

/// The next of 1, 2, 4, 8 times a power of ten, so that quarters are round too.
fn round_up(value: f64) -> f64 {
    if value <= 1000.0 {
        return 1000.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_peaks_and_aligns_at_the_right() {
        let values: VecDeque<f32> = (0..13).map(|at| if at == 8 { 50.0 } else { 1.0 }).collect();
        assert_eq!(thinned(&values, 60), [1.0, 1.0, 50.0]);
        assert_eq!(thinned(&values, POINTS).len(), 13);
        assert!(thinned(&VecDeque::new(), 60).is_empty());
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(
            [round_up(0.0), round_up(1001.0), round_up(3.1e6), round_up(8.5e9)],
            [1000.0, 2000.0, 4e6, 1e10]
        );
    }
}
