//! Text of others, made fit for a terminal.

/// `text` without what a terminal would obey: control characters of all kinds, and marks that turn the direction of writing, are
/// written as escapes.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() || is_mark(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Line and paragraph separators, marks of direction, and what is not seen at all.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("Zürich 東京"), "Zürich 東京");
        assert_eq!(printable("\x1b[2J\r\nroot"), "\\u{1b}[2J\\u{d}\\u{a}root");
        assert_eq!(printable("\u{9b}2J a\u{202e}b"), "\\u{9b}2J a\\u{202e}b");
    }
}
