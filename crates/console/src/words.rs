//! A command line and its words: separated by blanks, and in double quotes where a word has blanks of its own.

/// The words of a line. A quote that is not closed ends with the line; inside quotes a backslash takes the next character as it is.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The parts of a line between the `|` that stand outside quotes.
pub fn parts(line: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '|' if !quoted => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    parts.push(&line[start..]);
    parts
}

/// A word as it is to be written so that [`split`] gives it back.
pub fn quote(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '|' | '?');
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    let escaped: String =
        word.chars().flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
    format!("\"{escaped}\"")
}

/// Words as one line.
pub fn join<T: AsRef<str>>(words: &[T]) -> String {
    words.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split(r#"  show site "New York"  x"#), ["show", "site", "New York", "x"]);
        assert_eq!(split(r#"set a "" "b\"c"#), ["set", "a", "", "b\"c"]);
        assert!(split(" \t").is_empty());
    }

    #[test]
    fn pipes_stand_outside_quotes() {
        assert_eq!(
            parts(r#"show ports | include "a|b" | count"#),
            ["show ports ", r#" include "a|b" "#, " count"]
        );
    }

    proptest! {
        #[test]
        fn what_was_joined_is_split_again(words in prop::collection::vec(".*", 0..6)) {
            prop_assert_eq!(split(&join(&words)), words);
        }
    }
}
