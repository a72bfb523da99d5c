//! One console: a conversation with one person or script.

mod local;
mod pages;

use std::collections::VecDeque;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::commands;
use crate::editor::{Edited, Editor};
use crate::ends::{Event, Other, Settings};
use crate::filter::{self, Filter};
use crate::help::{self, Completion};
use crate::keys::{Key, Keys};
use crate::printable;
use crate::telnet::{Input, Side, Telnet, escaped};
use crate::top::Top;
use crate::tree::{Does, Names, Node, Role, View, parse};
use crate::words;

/// Keys that are typed while a command runs.
const MAX_AHEAD: usize = 4096;

/// Octets of output after which no more is made before somebody takes them.
const MAX_OUTPUT: usize = 64 << 10;

/// Wrong passwords after which the connection is closed.
const MAX_LOGINS: u32 = 3;

/// The largest window that is believed: every key may draw a line of it anew, and the live view all of it.
const MAX_COLUMNS: u16 = 500;
const MAX_ROWS: u16 = 200;

/// What stands before a command from outside the configuration mode, in it.
const DO: &str = "do ";

/// Lines of a page when the window's size is not known.
const DEFAULT_ROWS: u16 = 24;

/// One console.
#[derive(Debug)]
pub struct Console {
    settings: Settings,
    /// Whose candidate configuration is changed.
    user: String,
    /// In the configuration mode.
    configures: bool,
    /// Who else is.
    others: Vec<Other>,
    telnet: Telnet,
    keys: Keys,
    editor: Editor,
    state: State,
    role: Role,
    logins: u32,
    rows: Option<u16>,
    columns: u16,
    /// `terminal length`: 0 is no pages.
    length: Option<u16>,
    ahead: VecDeque<Key>,
    ended: bool,
    /// What the filters of a stream have had to do since output was taken.
    work: usize,
    events: VecDeque<Event>,
    output: Vec<u8>,
}

#[derive(Debug)]
enum State {
    User,
    Password(String),
    /// The password is being checked.
    Checking,
    Ready,
    /// The appliance is asked.
    Asked(Shown),
    /// The live view: what it remembers, and whether an answer is waited for.
    Watching(Box<Top>, bool),
    /// An answer is being shown from an octet of its text on, with lines of room left on the page.
    Showing(String, usize, usize),
    /// A page is full.
    More(String, usize),
    Closed,
}

/// How an answer is to be shown.
#[derive(Debug)]
struct Shown {
    view: View,
    filters: Vec<Filter>,
    /// It may be long before the answer is whole.
    lasts: bool,
}

impl Console {
    /// Begins.
    pub fn new(settings: Settings) -> Self {
        let mut console = Self {
            telnet: Telnet::new(Side::Server),
            keys: Keys::default(),
            editor: Editor::default(),
            state: State::Ready,
            role: settings.user.as_ref().map_or(Role::Operator, |(_, role)| *role),
            user: settings.user.as_ref().map_or_else(String::new, |(user, _)| user.clone()),
            configures: false,
            others: Vec::new(),
            logins: 0,
            rows: None,
            columns: 80,
            length: None,
            ahead: VecDeque::new(),
            ended: false,
            work: 0,
            events: VecDeque::new(),
            output: Vec::new(),
            settings,
        };
        if console.settings.telnet {
            console.telnet.offer();
        }
        if console.settings.user.is_some() {
            console.ready();
        } else {
            console.ask_user();
        }
        console
    }

    /// Takes what was typed.
    pub fn receive(&mut self, octets: &[u8], names: &dyn Names) {
        for octet in octets {
            match self.telnet.receive(*octet) {
                None => {}
                Some(Input::Octet(octet)) => {
                    if let Some(key) = self.keys.receive(octet) {
                        self.key(key, names);
                    }
                }
                Some(Input::Echo(on)) => {
                    self.editor.set_raw(on);
                    if on && matches!(self.state, State::User | State::Ready) {
                        self.editor.draw();
                    }
                }
                Some(Input::Window(columns, rows)) => {
                    self.rows = (rows > 0).then_some(rows.min(MAX_ROWS));
                    self.columns = if columns > 0 { columns.min(MAX_COLUMNS) } else { 80 };
                    self.editor.set_columns(self.columns);
                }
                Some(Input::WindowWanted) => {}
            }
        }
        self.typed_ahead(names);
        // Answers to options do not wait for the next text, or nothing would bound them.
        self.flush_editor();
    }

    /// Nothing more will be typed: the console ends when it has done what was. What takes its time it does for a script only.
    pub fn end_of_input(&mut self, names: &dyn Names) {
        self.ended = true;
        if self.is_live() || self.waits_long() {
            // Nobody is there to end it.
            self.events.push_back(Event::Cancel);
            self.ahead.clear();
            self.ready();
        }
        self.typed_ahead(names);
        self.flush_editor();
    }

    /// Whether more input has room. Who reads none as long as it has not, keeps memory bounded.
    pub fn wants_input(&self) -> bool {
        self.ahead.len() < MAX_AHEAD && self.output.len() < MAX_OUTPUT
    }

    /// Octets that are kept of what was typed and of what is to be sent, beside the answer that is shown.
    pub fn held(&self) -> usize {
        let keys = self.ahead.len() * size_of::<Key>();
        keys + self.output.len() + self.telnet.waiting() + self.editor.waiting()
    }

    /// Whether lines of a stream have room, and were no great work since output was taken.
    pub fn wants_lines(&self) -> bool {
        matches!(self.state, State::Asked(_) | State::Watching(..))
            && self.output.len() < MAX_OUTPUT
            && self.work < filter::MAX_WORK
    }

    /// Whether the live view is open, which wants [`Console::tick`] every second.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Watching(..))
    }

    /// Whether somebody at a terminal waits for an answer that takes its time.
    fn waits_long(&self) -> bool {
        self.editor.is_raw() && matches!(&self.state, State::Asked(shown) if shown.lasts)
    }

    /// Whether it is in the configuration mode.
    pub fn configures(&self) -> bool {
        self.configures
    }

    /// Who else is in the configuration mode at this moment.
    pub fn others(&mut self, others: Vec<Other>) {
        self.others = others;
    }

    /// Asks for the live view's next answer, unless one is waited for.
    pub fn tick(&mut self) {
        if let State::Watching(_, waits) = &mut self.state {
            if !std::mem::replace(waits, true) {
                self.events.push_back(Event::Ask("show top".into()));
            }
        }
    }

    /// Says whether user and password were right: what the user may do, or what to tell.
    pub fn logged_in(&mut self, result: Result<Role, String>, names: &dyn Names) {
        if !matches!(self.state, State::Checking) {
            return;
        }
        match result {
            Ok(role) => {
                self.role = role;
                self.ready();
            }
            Err(reason) => {
                self.print(&format!("{}\n", printable(&reason)));
                self.logins += 1;
                if self.logins >= MAX_LOGINS {
                    self.close();
                } else {
                    self.ask_user();
                }
            }
        }
        self.typed_ahead(names);
    }

    /// A line of the answer, before its end.
    pub fn line(&mut self, line: &Value) {
        if let State::Asked(shown) = &self.state {
            let text = filter::apply(&shown.filters, line, crate::render::views::progress);
            self.work = self.work.saturating_add(filter::work(&shown.filters, line.to_string().len()));
            self.print(&text);
        }
    }

    /// The answer, or the end of its lines.
    pub fn answer(&mut self, answer: Result<&Value, &str>, names: &dyn Names) {
        if let State::Watching(top, waits) = &mut self.state {
            *waits = false;
            if let (Ok(answer), true) = (answer, self.output.len() < MAX_OUTPUT) {
                top.take(answer);
                let rows = self.rows.unwrap_or(DEFAULT_ROWS);
                let frame = top.screen(usize::from(self.columns), usize::from(rows));
                self.print(&frame);
            }
            return;
        }
        let State::Asked(shown) = &self.state else { return };
        let text = match answer {
            Ok(Value::Null) => String::new(),
            Ok(value) => filter::apply(&shown.filters, value, shown.view),
            Err(error) => error.lines().map(|line| format!("% {}\n", printable(line))).collect(),
        };
        self.show(text);
        self.typed_ahead(names);
    }

    /// Says something on a line of its own, whatever is being typed.
    pub fn say(&mut self, text: &str) {
        self.print(&format!("\r\n{text}\r\n"));
    }

    /// Ends the conversation from our side.
    pub fn close(&mut self) {
        self.state = State::Closed;
        self.events.push_back(Event::Close);
    }

    /// What is to be done next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is to be sent. Makes more when this was taken.
    pub fn take_output(&mut self, names: &dyn Names) -> Vec<u8> {
        self.work = 0;
        self.typed_ahead(names);
        self.pump(names);
        std::mem::take(&mut self.output)
    }

    /// What is in the prompt of an admin, and of an operator.
    fn prompt(&self) -> String {
        let mode = if self.configures { "(config)" } else { "" };
        format!("{}{mode}{} ", self.settings.name, if self.role == Role::Admin { '#' } else { '>' })
    }

    /// Where a line is looked up: the tree, whose candidate it is about, and the line without the `do ` before it.
    fn scope<'a>(&self, line: &'a str) -> (&'static Node, Option<&str>, &'a str) {
        match (self.configures, line.trim_start().strip_prefix(DO)) {
            (false, _) => (commands::root(), None, line),
            (true, Some(rest)) => (commands::root(), None, rest),
            (true, None) => (commands::configure(), Some(&self.user), line),
        }
    }

    fn ask_user(&mut self) {
        self.state = State::User;
        self.editor.begin("Login: ", false);
        self.flush_editor();
    }

    fn ready(&mut self) {
        self.state = State::Ready;
        let prompt = self.prompt();
        self.editor.begin(&prompt, false);
        self.flush_editor();
    }

    fn key(&mut self, key: Key, names: &dyn Names) {
        match &self.state {
            State::Closed => {}
            State::Asked(_) if key == Key::Control('c') => {
                self.events.push_back(Event::Cancel);
                self.ahead.clear();
                self.print("^C\n");
                self.ready();
            }
            State::Showing(..) if key == Key::Control('c') => {
                self.events.push_back(Event::Cancel);
                self.ahead.clear();
                self.print("^C\n");
                self.ready();
            }
            State::Asked(_) if key == Key::Control('d') && self.waits_long() => {
                self.events.push_back(Event::Cancel);
                self.print("\n");
                self.close();
            }
            State::More(..) => self.more(key),
            State::Watching(..) => {
                if matches!(key, Key::Char('q' | 'Q') | Key::Control('c' | 'd')) {
                    self.events.push_back(Event::Cancel);
                    self.print("\x1b[H\x1b[2J");
                    self.ready();
                }
                if key == Key::Control('d') {
                    self.close();
                }
            }
            State::Asked(_) | State::Checking | State::Showing(..) => self.later(key),
            State::User | State::Password(_) | State::Ready => {
                if key == Key::Control('c') {
                    self.ahead.clear();
                }
                // What came before goes first, and all of it only as long as somebody takes what it makes.
                if self.ahead.is_empty() && self.output.len() < MAX_OUTPUT {
                    self.edit(key, names);
                } else {
                    self.later(key);
                }
            }
        }
    }

    fn later(&mut self, key: Key) {
        if self.ahead.len() < 2 * MAX_AHEAD {
            self.ahead.push_back(key);
        }
    }

    fn edit(&mut self, key: Key, names: &dyn Names) {
        let edited = self.editor.key(key);
        self.flush_editor();
        match edited {
            Edited::Nothing => {}
            Edited::Line(line) => self.entered(line, names),
            Edited::TooLong => {
                self.print("% the line is too long\n");
                self.begin_again();
            }
            Edited::Interrupt => self.begin_again(),
            Edited::EndOfInput => {
                self.print("\n");
                self.close();
            }
            Edited::LeaveMode => {
                self.configures = false;
                self.print("\n");
                self.begin_again();
            }
            Edited::Complete if matches!(self.state, State::Ready) => {
                let line = self.editor.before_cursor();
                let (tree, candidate, rest) = self.scope(&line);
                match help::complete(tree, self.role, rest, names, candidate) {
                    Completion::Line(whole) => {
                        let before = &line[..line.len() - rest.len()];
                        self.editor.replace_before_cursor(&format!("{before}{whole}"));
                    }
                    Completion::Several(ways) => self.list("", &ways),
                    Completion::Nothing => {}
                }
                self.flush_editor();
            }
            Edited::Help if matches!(self.state, State::Ready) => {
                let line = self.editor.before_cursor();
                self.help(&line, "?", names);
                self.flush_editor();
            }
            Edited::Help => {
                self.editor.key(Key::Control('v'));
                self.editor.key(Key::Char('?'));
                self.flush_editor();
            }
            Edited::Complete => {}
        }
    }

    /// A prompt for the same thing once more.
    fn begin_again(&mut self) {
        match self.state {
            State::Ready => self.ready(),
            _ => self.ask_user(),
        }
    }

    fn entered(&mut self, line: String, names: &dyn Names) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::User if line.trim().is_empty() => self.ask_user(),
            State::User => {
                self.state = State::Password(line.trim().into());
                self.editor.begin("Password: ", true);
                self.flush_editor();
            }
            State::Password(user) => {
                self.state = State::Checking;
                self.user.clone_from(&user);
                self.events.push_back(Event::Login { user, password: Zeroizing::new(line) });
            }
            _ => self.command(line.trim(), names),
        }
    }

    fn command(&mut self, line: &str, names: &dyn Names) {
        if line.is_empty() || line.starts_with(['!', '#']) {
            return self.ready();
        }
        if let Some(before) = line.strip_suffix('?').filter(|_| !self.editor.is_raw()) {
            self.help(before, "", names);
            return self.ready();
        }
        if let Err(wrong) = self.run(line) {
            let wrong = printable(&wrong);
            self.events.push_back(Event::Did(line.into(), wrong.clone()));
            self.print(&format!("% {wrong}\n"));
            self.ready();
        }
    }

    fn run(&mut self, line: &str) -> Result<(), String> {
        let mut parts = words::parts(line);
        // What other consoles call it.
        if self.configures && parts.len() > 1 && parts[0].trim() == "show" && parts[1].trim() == "compare" {
            parts.splice(0..2, ["compare"]);
        }
        let filters = filter::parse(&parts[1..])?;
        let (tree, candidate, rest) = self.scope(parts[0]);
        let words = words::split(rest);
        let command = parse(tree, &words, self.role).map_err(|wrong| wrong.to_string())?;
        match *command.does {
            Does::Ask(view) => {
                let lasts = commands::LASTING.contains(&command.words[0].as_str());
                let commits = candidate.is_some() && command.words[0] == "commit";
                let words = request(candidate, &command.words);
                if commits {
                    self.tell_others();
                }
                self.state = State::Asked(Shown { view, filters, lasts });
                self.events.push_back(Event::Ask(words));
            }
            Does::Local(local) => {
                self.events.push_back(Event::Did(words::join(&command.words), "done".into()));
                self.local(local, &command.words, &filters);
            }
        }
        Ok(())
    }

    fn typed_ahead(&mut self, names: &dyn Names) {
        // The rest when somebody has taken what it made so far: some keys make much more than themselves.
        while self.output.len() < MAX_OUTPUT
            && matches!(self.state, State::Ready | State::User | State::Password(_))
        {
            let Some(key) = self.ahead.pop_front() else {
                if self.ended {
                    // What stands in the last line without its end is a command all the same.
                    if matches!(self.state, State::Ready) && !self.editor.before_cursor().is_empty() {
                        self.edit(Key::Enter, names);
                        continue;
                    }
                    self.close();
                }
                return;
            };
            self.edit(key, names);
        }
    }

    fn flush_editor(&mut self) {
        let text = self.editor.take_output();
        self.print(&text);
        let options = self.telnet.take_output();
        self.output.extend(options);
    }

    fn print(&mut self, text: &str) {
        let options = self.telnet.take_output();
        self.output.extend(options);
        let mut last = 0;
        for octet in text.bytes() {
            if octet == b'\n' && last != b'\r' {
                self.output.push(b'\r');
            }
            self.output.extend(escaped(octet));
            last = octet;
        }
    }
}

/// What the appliance is asked for these words, which may be about somebody's candidate.
fn request(candidate: Option<&str>, words: &[String]) -> String {
    let (Some(user), Some((first, rest))) = (candidate, words.split_first()) else {
        return words::join(words);
    };
    let rest = words::join(rest);
    let line = match first.as_str() {
        "confirm" | "versions" => format!("configure {first} {rest}"),
        // As other consoles call it.
        "no" => format!("configure {} delete {rest}", words::quote(user)),
        _ => format!("configure {} {first} {rest}", words::quote(user)),
    };
    line.trim_end().to_owned()
}
