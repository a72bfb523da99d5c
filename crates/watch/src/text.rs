//! The text format of Prometheus (version 0.0.4): families of samples, each with its HELP and TYPE.

use std::fmt::{Display, Write};

/// The type of a family.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// An exposition that is being written.
#[derive(Default)]
pub(crate) struct Text(String);

/// One family, whose samples follow.
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a family. Each is begun once, so that its samples stand together.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }

    /// Adds a sample if there is a value.
    pub(crate) fn sample_if(&mut self, labels: &[(&str, &str)], value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.sample(labels, value);
        }
        self
    }
}

/// A label's value: backslash, quote and newline are escaped; other control characters have no place in a name.
fn escape(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.family("x_total", Kind::Counter, "Some.")
            .sample(&[("site", "a\"b\\c\nd\u{1b}e"), ("port", "ü")], 1)
            .sample(&[], 2.5);
        let expected = "# HELP x_total Some.\n# TYPE x_total counter\n\
            x_total{site=\"a\\\"b\\\\c\\nd\u{fffd}e\",port=\"ü\"} 1\nx_total 2.5\n";
        assert_eq!(text.finish(), expected);
    }
}
