//! Answers, page by page.

use unicode_width::UnicodeWidthStr;

use super::{Console, DEFAULT_ROWS, MAX_OUTPUT, State};
use crate::keys::Key;
use crate::tree::Names;

impl Console {
    pub(super) fn show(&mut self, text: String) {
        let room = self.page();
        self.state = State::Showing(text, 0, room);
    }

    /// Lines of a page.
    fn page(&self) -> usize {
        let rows = self.length.or(self.rows).unwrap_or(DEFAULT_ROWS);
        match (self.editor.is_raw(), rows) {
            (false, _) | (_, 0) => usize::MAX,
            (true, rows) => usize::from(rows.max(3)) - 1,
        }
    }

    /// Writes of the answer what fits the page and the output.
    pub(super) fn pump(&mut self, names: &dyn Names) {
        while self.output.len() < MAX_OUTPUT {
            let State::Showing(text, at, room) = &mut self.state else { break };
            let Some(line) = text[*at..].split_inclusive('\n').next().map(str::to_owned) else {
                self.ready();
                self.typed_ahead(names);
                continue;
            };
            // A line that is wider than the window takes several of its rows.
            let rows = line.trim_end().width().div_ceil(usize::from(self.columns)).max(1);
            if *room == 0 {
                let (text, at) = (std::mem::take(text), *at);
                self.state = State::More(text, at);
                self.print("--More--");
                break;
            }
            *room = room.saturating_sub(rows);
            *at += line.len();
            self.print(&line);
        }
    }

    pub(super) fn more(&mut self, key: Key) {
        let State::More(text, at) = &mut self.state else { return };
        let (text, at) = (std::mem::take(text), *at);
        let room = match key {
            Key::Char(' ' | 'f') => self.page(),
            Key::Enter | Key::Down | Key::Char('j') => 1,
            Key::Char('q' | 'Q') | Key::Control('c') => {
                self.print("\r\x1b[K");
                return self.ready();
            }
            _ => {
                self.state = State::More(text, at);
                return;
            }
        };
        self.print("\r\x1b[K");
        self.state = State::Showing(text, at, room);
    }
}
