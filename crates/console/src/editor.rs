//! The line that is being typed, as people know it from a shell.

use unicode_width::UnicodeWidthChar;

use crate::keys::Key;

/// Longest line, in characters.
pub(crate) const MAX_LINE: usize = 4096;

/// Lines that the history keeps.
const MAX_HISTORY: usize = 200;

/// What a key led to, beside a changed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// Nothing that others have to do.
    Nothing,
    /// A whole line.
    Line(String),
    /// The line cannot be kept: it was too long.
    TooLong,
    /// The word before the cursor is to be completed.
    Complete,
    /// Help is wanted for what stands before the cursor.
    Help,
    /// Control-C.
    Interrupt,
    /// Control-D on an empty line.
    EndOfInput,
    /// Control-Z.
    LeaveMode,
}

/// A line with its cursor, its prompt and the lines before.
#[derive(Debug)]
pub(crate) struct Editor {
    prompt: String,
    line: Vec<char>,
    cursor: usize,
    /// The terminal sends keys and lets us echo; else whole lines come, echoed already.
    raw: bool,
    /// What is typed is not shown, and not kept.
    hidden: bool,
    columns: usize,
    history: Vec<String>,
    /// Where in the history we are, and what was typed before.
    recalled: Option<(usize, Vec<char>)>,
    killed: Vec<char>,
    /// The next character is taken as it is.
    literal: bool,
    too_long: bool,
    output: String,
}

impl Default for Editor {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            line: Vec::new(),
            cursor: 0,
            raw: false,
            hidden: false,
            columns: 80,
            history: Vec::new(),
            recalled: None,
            killed: Vec::new(),
            literal: false,
            too_long: false,
            output: String::new(),
        }
    }
}

impl Editor {
    /// Whether keys come one by one.
    pub(crate) fn set_raw(&mut self, raw: bool) {
        self.raw = raw;
    }

    /// Whether keys come one by one.
    pub(crate) fn is_raw(&self) -> bool {
        self.raw
    }

    /// The width of the window.
    pub(crate) fn set_columns(&mut self, columns: u16) {
        self.columns = usize::from(columns.max(20));
    }

    /// Begins a line behind a prompt. What is typed into a `hidden` one is not shown.
    pub(crate) fn begin(&mut self, prompt: &str, hidden: bool) {
        self.prompt = prompt.into();
        self.hidden = hidden;
        self.line.clear();
        self.cursor = 0;
        self.recalled = None;
        self.too_long = false;
        self.draw();
    }

    /// The line before the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        self.line[..self.cursor].iter().collect()
    }

    /// The lines that were entered, oldest first.
    pub(crate) fn history(&self) -> &[String] {
        &self.history
    }

    /// What is to be shown.
    pub(crate) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    /// Octets that [`Editor::take_output`] would return.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Shows prompt and line anew, for who has written something else in between.
    pub(crate) fn draw(&mut self) {
        if self.raw {
            self.redraw();
        } else {
            self.output += &self.prompt;
        }
    }

    /// Replaces what stands before the cursor.
    pub(crate) fn replace_before_cursor(&mut self, text: &str) {
        let rest = self.line.split_off(self.cursor);
        self.line = text.chars().collect();
        self.cursor = self.line.len();
        self.line.extend(rest);
        self.line.truncate(MAX_LINE);
        self.redraw();
    }

    /// Takes a key.
    pub(crate) fn key(&mut self, key: Key) -> Edited {
        if std::mem::take(&mut self.literal) {
            if let Key::Char(c) = key {
                self.insert(c);
                return Edited::Nothing;
            }
        }
        match key {
            Key::Char('?') if self.raw && !self.hidden && !self.in_quotes() => return Edited::Help,
            Key::Char(c) => self.insert(c),
            Key::Enter => return self.enter(),
            Key::Tab if self.raw && !self.hidden => return Edited::Complete,
            Key::Tab => {}
            Key::Backspace | Key::Control('h') if self.cursor > 0 => {
                self.cursor -= 1;
                self.line.remove(self.cursor);
                self.redraw();
            }
            Key::Control('d') if self.line.is_empty() => return Edited::EndOfInput,
            Key::Delete | Key::Control('d') if self.cursor < self.line.len() => {
                self.line.remove(self.cursor);
                self.redraw();
            }
            Key::Left | Key::Control('b') => self.go(self.cursor.saturating_sub(1)),
            Key::Right | Key::Control('f') => self.go(self.cursor + 1),
            Key::WordLeft => self.go(self.word_start()),
            Key::WordRight => self.go(self.word_end()),
            Key::Home | Key::Control('a') => self.go(0),
            Key::End | Key::Control('e') => self.go(self.line.len()),
            Key::Up | Key::Control('p') => self.recall(true),
            Key::Down | Key::Control('n') => self.recall(false),
            Key::Control('k') => self.kill(self.cursor, self.line.len()),
            Key::Control('u') => self.kill(0, self.cursor),
            Key::Control('w') => self.kill(self.word_start(), self.cursor),
            Key::Control('y') => {
                let room = MAX_LINE - self.line.len();
                let killed: Vec<char> = self.killed.iter().copied().take(room).collect();
                let end = self.cursor + killed.len();
                self.line.splice(self.cursor..self.cursor, killed);
                self.go(end);
            }
            Key::Control('l') if self.raw => {
                self.output += "\x1b[H\x1b[2J";
                self.redraw();
            }
            Key::Control('v') => self.literal = true,
            Key::Control('c') => {
                self.output += "^C\n";
                return Edited::Interrupt;
            }
            Key::Control('z') => return Edited::LeaveMode,
            _ => {}
        }
        Edited::Nothing
    }

    fn insert(&mut self, c: char) {
        if self.line.len() >= MAX_LINE {
            self.too_long = true;
            if self.raw {
                self.output.push('\x07');
            }
            return;
        }
        self.line.insert(self.cursor, c);
        self.cursor += 1;
        // What is typed at the end of a short line needs no more than itself.
        let short = 2 * (self.prompt.len() + self.line.len() + 1) < self.columns;
        if self.raw && !self.hidden && self.cursor == self.line.len() && short {
            self.output.push(c);
        } else {
            self.redraw();
        }
    }

    fn enter(&mut self) -> Edited {
        let line: String = std::mem::take(&mut self.line).into_iter().collect();
        self.cursor = 0;
        self.recalled = None;
        if self.raw {
            self.output.push('\n');
        }
        if std::mem::take(&mut self.too_long) {
            return Edited::TooLong;
        }
        if !self.hidden && !line.trim().is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == MAX_HISTORY {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        Edited::Line(line)
    }

    fn go(&mut self, to: usize) {
        self.cursor = to.min(self.line.len());
        self.redraw();
    }

    fn kill(&mut self, from: usize, to: usize) {
        if from < to {
            self.killed = self.line.drain(from..to).collect();
            self.cursor = from;
            self.redraw();
        }
    }

    fn recall(&mut self, back: bool) {
        if self.hidden {
            return;
        }
        let at = self.recalled.as_ref().map(|(at, _)| *at);
        let next = match (at, back) {
            (None, true) => self.history.len().checked_sub(1),
            (Some(at), true) => Some(at.saturating_sub(1)),
            (Some(at), false) if at + 1 < self.history.len() => Some(at + 1),
            (_, false) => None,
        };
        match next {
            Some(next) => {
                let typed = self.recalled.take().map_or_else(|| self.line.clone(), |(_, typed)| typed);
                self.line = self.history[next].chars().collect();
                self.recalled = Some((next, typed));
            }
            None => {
                let Some((_, typed)) = self.recalled.take() else { return };
                self.line = typed;
            }
        }
        self.cursor = self.line.len();
        self.redraw();
    }

    fn in_quotes(&self) -> bool {
        let before = self.line[..self.cursor].iter();
        let mut escaped = false;
        before.fold(false, |quoted, c| {
            let toggles = *c == '"' && !escaped;
            escaped = quoted && *c == '\\' && !escaped;
            quoted ^ toggles
        })
    }

    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let word = before.iter().rposition(|c| !c.is_whitespace()).map_or(0, |at| at + 1);
        before[..word].iter().rposition(|c| c.is_whitespace()).map_or(0, |at| at + 1)
    }

    fn word_end(&self) -> usize {
        let after = &self.line[self.cursor..];
        let word = after.iter().position(|c| !c.is_whitespace()).unwrap_or(after.len());
        self.cursor
            + word
            + after[word..].iter().position(|c| c.is_whitespace()).unwrap_or(after.len() - word)
    }

    /// Writes the line anew: of one that is wider than the window, the part around the cursor.
    fn redraw(&mut self) {
        if !self.raw {
            return;
        }
        self.output.push('\r');
        self.output += &self.prompt;
        if !self.hidden {
            let room = self.columns.saturating_sub(columns(self.prompt.chars()) + 1).max(8);
            // Of a line that fits, all; else what has room before the cursor, and some behind it. Costs what is shown, not what there is.
            let before = if self.line.len() < room && columns(self.line.iter().copied()) < room {
                room
            } else {
                room * 3 / 4
            };
            let mut seen = 0;
            let kept = self.line[..self.cursor].iter().rev().take_while(|c| {
                seen += width(**c).max(1);
                seen < before
            });
            let from = self.cursor - kept.count();
            let mut used = 0;
            let shown: Vec<char> = self.line[from..]
                .iter()
                .copied()
                .take_while(|c| {
                    used += width(*c).max(1);
                    used <= room
                })
                .collect();
            self.output.extend(&shown);
            self.output += "\x1b[K";
            let back = columns(shown.iter().copied().skip(self.cursor - from));
            if back > 0 {
                self.output += &format!("\x1b[{back}D");
            }
        }
    }
}

fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

fn columns(text: impl Iterator<Item = char>) -> usize {
    text.map(width).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Keys;

    fn editor() -> Editor {
        let mut editor = Editor::default();
        editor.set_raw(true);
        editor.begin("> ", false);
        editor
    }

    fn feed(editor: &mut Editor, octets: &[u8]) -> Vec<Edited> {
        let mut keys = Keys::default();
        let edited = octets.iter().filter_map(|octet| keys.receive(*octet)).map(|key| editor.key(key));
        edited.filter(|edited| *edited != Edited::Nothing).collect()
    }

    fn line(text: &str) -> Vec<Edited> {
        vec![Edited::Line(text.into())]
    }

    #[test]
    fn lines_are_edited_as_in_a_shell() {
        for (typed, became) in [
            (&b"shw\x1b[Do\r"[..], "show"),
            (b"ow\x01sh\x05 ports\r", "show ports"),
            (b"show foo bar\x17\x17ports\r", "show ports"),
            (b"xx\x15show\r", "show"),
            (b"show\x02\x02\x0b\x19\x08w\r", "show"),
            (b"abc\x7f\x7fx\r", "ax"),
            ("süd\x1b[D\x7fu\r".as_bytes(), "sud"),
            (b"a b\x1b[1;5D\x1b[3~c\r", "a c"),
            (b"\"what?\" \x16?\r", "\"what?\" ?"),
        ] {
            assert_eq!(feed(&mut editor(), typed), line(became));
        }
    }

    #[test]
    fn the_history_goes_back_and_forth() {
        let mut editor = editor();
        feed(&mut editor, b"one\rtwo\r");
        assert_eq!(feed(&mut editor, b"thr\x10\x10\r"), line("one"));
        assert_eq!(feed(&mut editor, b"thr\x10\x10\x0e\x0eee\r"), line("three"));
        assert_eq!(feed(&mut editor, b"\x1b[A\x1b[A\r"), line("one"));
        editor.begin("Password: ", true);
        feed(&mut editor, b"secret\r");
        editor.begin("> ", false);
        assert!(!editor.history().contains(&"secret".into()) && !editor.take_output().contains("secret"));
    }

    #[test]
    fn special_keys_are_told() {
        assert_eq!(feed(&mut editor(), b"show ?"), [Edited::Help]);
        assert_eq!(
            feed(&mut editor(), b"sh\t\x03\x1a"),
            [Edited::Complete, Edited::Interrupt, Edited::LeaveMode]
        );
        assert_eq!(feed(&mut editor(), b"\x04"), [Edited::EndOfInput]);
        assert_eq!(feed(&mut editor(), b"x\x04\r"), line("x"));
    }

    #[test]
    fn megabytes_without_a_newline_are_one_line_that_is_refused() {
        let mut editor = editor();
        editor.set_raw(false);
        assert!(feed(&mut editor, &vec![b'x'; 1 << 20]).is_empty());
        assert_eq!(feed(&mut editor, b"\nshow\n"), [Edited::TooLong, Edited::Line("show".into())]);
    }

    proptest! {
        #[test]
        fn no_key_breaks_it(octets in prop::collection::vec(prop_oneof![0_u8..32, any::<u8>()], 0..300), columns in 0_u16..100) {
            let mut editor = editor();
            editor.set_columns(columns);
            feed(&mut editor, &octets);
            prop_assert!(editor.cursor <= editor.line.len());
        }
    }
}
