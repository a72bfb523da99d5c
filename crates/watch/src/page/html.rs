//! Text that is safe inside HTML, and numbers as people read them.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

/// Text for the inside of an element or of a quoted attribute, whoever wrote it.
pub(super) fn text(text: &str) -> Text<'_> {
    Text(text, usize::MAX)
}

/// The same, cut to so many letters.
pub(super) fn short(text: &str, letters: usize) -> Text<'_> {
    Text(text, letters)
}

pub(super) struct Text<'a>(&'a str, usize);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cut = self.1 != usize::MAX && self.0.chars().nth(self.1).is_some();
        for letter in self.0.chars().take(if cut { self.1.saturating_sub(1) } else { self.1 }) {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter if letter.is_control() || turns(letter) => f.write_char('\u{fffd}')?,
                letter => f.write_char(letter)?,
            }
        }
        if cut { f.write_char('…') } else { Ok(()) }
    }
}

/// Letters that turn the direction of what follows, by which a name can dress up as another.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// Octets a second as bits a second.
pub(super) fn bits(octets: f32) -> String {
    scaled(f64::from(octets) * 8.0, "bit/s")
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}'); // a narrow space
        }
        out.push(digit);
    }
    out
}

/// Octets.
pub(super) fn octets(number: u64) -> String {
    scaled(number as f64, "B")
}

fn scaled(mut value: f64, unit: &str) -> String {
    for prefix in ["", "k", "M", "G"] {
        if value < 1000.0 {
            return number(value, prefix, unit);
        }
        value /= 1000.0;
    }
    number(value, "T", unit)
}

fn number(value: f64, prefix: &str, unit: &str) -> String {
    let decimals = if value == 0.0 || value >= 100.0 || prefix.is_empty() { 0 } else { 1 };
    format!("{value:.decimals$} {prefix}{unit}")
}

/// Days and hours, or hours and minutes, or minutes, or seconds.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_element() {
        let evil = "<b a='\"'>&\u{1b}[2J\u{202e}x";
        assert_eq!(text(evil).to_string(), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}[2J\u{fffd}x");
        assert_eq!(short("abcdef", 4).to_string(), "abc…");
        assert_eq!(short("abcd", 4).to_string(), "abcd");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(bits(0.0), "0 bit/s");
        assert_eq!(bits(125_000.0), "1.0 Mbit/s");
        assert_eq!(bits(155e6), "1.2 Gbit/s");
        assert_eq!(octets(999), "999 B");
        assert_eq!(octets(123_456), "123 kB");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(90_061)), "1 d 1 h");
        assert_eq!(duration(Duration::from_secs(3_700)), "1 h 1 min");
    }
}
