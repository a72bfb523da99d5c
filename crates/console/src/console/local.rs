//! What the console does by itself.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::{Console, State};
use crate::ends::HELP;
use crate::filter::{self, Filter};
use crate::help;
use crate::printable;
use crate::tree::{Local, Names};

impl Console {
    pub(super) fn local(&mut self, local: Local, words: &[String], filters: &[Filter]) {
        let text = match local {
            Local::Exit if self.configures => {
                self.configures = false;
                String::new()
            }
            Local::Exit => return self.close(),
            Local::Configure => {
                self.configures = true;
                self.tell_others();
                "A candidate of your own: set, delete, show, show | compare, commit, commit confirmed MINUTES, rollback N.\n\
                 Nothing changes before commit. exit leaves, and keeps the candidate; discard forgets it.\n"
                    .into()
            }
            Local::Top if self.editor.is_raw() => {
                self.state = State::Watching(Box::default(), false);
                self.print("\x1b[H\x1b[2J");
                return self.tick();
            }
            Local::Top => "% top needs a terminal; show top shows it once\n".into(),
            Local::Help => HELP.into(),
            Local::History => {
                let mut history: String =
                    self.editor.history().iter().map(|line| printable(line) + "\n").collect();
                if !filters.is_empty() {
                    let lines = Value::from(history);
                    history = filter::apply(filters, &lines, |lines| lines.as_str().unwrap_or("").into());
                }
                history
            }
            Local::TerminalLength => {
                self.length = words.last().and_then(|number| number.parse().ok());
                String::new()
            }
        };
        self.show(text);
    }

    pub(super) fn help(&mut self, line: &str, mark: &str, names: &dyn Names) {
        let (tree, candidate, rest) = self.scope(line);
        match help::help(tree, self.role, rest, names, candidate) {
            Ok(ways) if ways.is_empty() => {
                self.list(mark, &[("% nothing can stand here".into(), String::new())])
            }
            Ok(ways) => self.list(mark, &ways),
            Err(wrong) => self.list(mark, &[(format!("% {}", printable(&wrong)), String::new())]),
        }
    }

    /// Lists words below the line that is being typed, and shows that again.
    pub(super) fn list(&mut self, mark: &str, ways: &[(String, String)]) {
        if self.editor.is_raw() {
            self.print(&format!("{mark}\n"));
        }
        let width = ways.iter().map(|(word, _)| word.width()).max().unwrap_or(0).min(30);
        let lines: String = ways
            .iter()
            .map(|(word, help)| {
                let pad = " ".repeat(width.saturating_sub(word.width()));
                format!("  {}{pad}  {help}", printable(word)).trim_end().to_owned() + "\n"
            })
            .collect();
        self.print(&lines);
        if self.editor.is_raw() {
            self.editor.draw();
        }
    }

    /// Says who else changes the configuration at this moment.
    pub(super) fn tell_others(&mut self) {
        for other in self.others.clone() {
            let what = if other.user == self.user {
                "has this same candidate open: what is changed there is committed with it"
            } else {
                "changes a candidate too: who commits second has to merge"
            };
            let user = printable(&other.user);
            self.print(&format!("! {user} from {}, since {}, {what}\n", other.from, other.since));
        }
    }
}
