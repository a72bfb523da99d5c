//! The command tree: what may be said, by whom, with help for each word. Parsing, completion, `?` and the documents come from it.

use serde_json::Value;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Operator,
    /// Change.
    Admin,
}

impl Role {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// What stands in a place that is no fixed word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// The name of a site.
    Site,
    /// The name of a segment.
    Segment,
    /// The name of a port.
    Port,
    /// The name of a drop reason.
    Reason,
    /// A MAC address.
    Mac,
    /// An IP address.
    Ip,
    /// A whole number within limits.
    Number(u64, u64),
    /// One word of any kind.
    Word,
    /// All the rest of the line, whatever it is.
    Rest,
}

/// One word of the tree.
#[derive(Debug)]
pub struct Node {
    /// The word itself, or what stands for it in help: `NAME`.
    pub word: &'static str,
    /// `None`: the word itself is meant.
    pub arg: Option<Arg>,
    /// One line, for `?`.
    pub help: &'static str,
    /// Who may use it.
    pub role: Role,
    /// What a command does that ends here.
    pub does: Option<Does>,
    /// What may follow.
    pub children: Vec<Node>,
    /// What may follow in any order, each at most once.
    pub options: Vec<Node>,
}

/// What a command does.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// Asks the appliance with the command's words, and shows the answer this way.
    Ask(View),
    /// Something of the console itself.
    Local(Local),
}

/// Lays an answer out for people.
pub type View = fn(&Value) -> String;

/// What the console does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Ends the session, or leaves a mode.
    Exit,
    /// Tells how to use it.
    Help,
    /// Shows the lines entered before.
    History,
    /// Sets the lines of a page.
    TerminalLength,
    /// Enters the configuration mode.
    Configure,
    /// Shows the live view.
    Top,
}

/// Names that the appliance knows, for completion.
pub trait Names {
    /// Those of one kind.
    fn names(&self, kind: Arg) -> Vec<String>;

    /// Words that may follow these in a session's candidate configuration, each with its help; in `<>` what stands for a value.
    fn configuration(&self, _session: &str, _words: &[&str]) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Knows none.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Names for NoNames {
    fn names(&self, _: Arg) -> Vec<String> {
        Vec::new()
    }
}

/// A fixed word.
pub fn word(word: &'static str, help: &'static str) -> Node {
    Node {
        word,
        arg: None,
        help,
        role: Role::Operator,
        does: None,
        children: Vec::new(),
        options: Vec::new(),
    }
}

/// A place for a value, called `name` in help.
pub fn value(name: &'static str, arg: Arg, help: &'static str) -> Node {
    Node { arg: Some(arg), ..word(name, help) }
}

impl Node {
    /// A command may end here; it asks the appliance, and shows the answer this way.
    #[must_use]
    pub fn asks(self, view: View) -> Self {
        Self { does: Some(Does::Ask(view)), ..self }
    }

    /// A command may end here; the console does this.
    #[must_use]
    pub fn local(self, local: Local) -> Self {
        Self { does: Some(Does::Local(local)), ..self }
    }

    /// For admins only, with all that follows.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.role = Role::Admin;
        self.children = self.children.into_iter().map(Self::admin).collect();
        self.options = self.options.into_iter().map(Self::admin).collect();
        self
    }

    /// What may follow.
    #[must_use]
    pub fn then(mut self, children: impl IntoIterator<Item = Node>) -> Self {
        self.children.extend(children);
        self
    }

    /// What may follow in any order.
    #[must_use]
    pub fn with(mut self, options: impl IntoIterator<Item = Node>) -> Self {
        self.options.extend(options);
        self
    }

    /// How help writes it.
    pub fn shown(&self) -> String {
        if self.arg.is_some() { format!("<{}>", self.word) } else { self.word.into() }
    }
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nobody knows this word here; with those that are known.
    Unknown(String, Vec<String>),
    /// The word may mean several.
    Ambiguous(String, Vec<String>),
    /// The word is not what has to stand here.
    BadValue(String, String),
    /// More words are needed.
    Incomplete(Vec<String>),
    /// The user may not.
    NotAllowed(String),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(word, known) if known.is_empty() => {
                write!(f, "{word:?} is too much here")
            }
            Self::Unknown(word, known) => write!(f, "unknown {word:?}; here: {}", known.join(", ")),
            Self::Ambiguous(word, which) => write!(f, "{word:?} may be {}", which.join(", ")),
            Self::BadValue(word, what) => write!(f, "{word:?} is not {what}"),
            Self::Incomplete(next) => write!(f, "incomplete; next: {}", next.join(", ")),
            Self::NotAllowed(word) => write!(f, "{word:?} needs the role admin"),
        }
    }
}

/// A whole command.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its words, none abbreviated.
    pub words: Vec<String>,
    /// What it does.
    pub does: &'a Does,
}

/// A walk through the tree, word by word.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    role: Role,
    at: &'a Node,
    /// The node whose options may follow, and which of them were used.
    owner: Option<(&'a Node, Vec<&'static str>)>,
    /// Words so far, none abbreviated.
    pub words: Vec<String>,
    rest: bool,
}

impl<'a> Walk<'a> {
    /// Begins at the root.
    pub fn new(root: &'a Node, role: Role) -> Self {
        Self { role, at: root, owner: None, words: Vec::new(), rest: false }
    }

    /// What may follow.
    pub fn next(&self) -> Vec<&'a Node> {
        let inside = self.at.children.iter();
        let owner = self.owner.iter().filter(|_| self.at.children.is_empty() || self.is_owner());
        let options = owner
            .flat_map(|(owner, used)| owner.options.iter().filter(|option| !used.contains(&option.word)));
        inside.chain(options).filter(|node| node.role <= self.role).collect()
    }

    /// Whether a command may end here.
    pub fn does(&self) -> Option<&'a Does> {
        match &self.owner {
            // An option has no command of its own.
            Some((owner, _)) if self.is_owner() || self.at.children.is_empty() => owner.does.as_ref(),
            Some(_) => None,
            None => self.at.does.as_ref(),
        }
    }

    /// What was said behind the first word, if the rest of the line is free.
    pub fn rest(&self) -> Option<&[String]> {
        let free = self.rest || self.next().iter().any(|node| node.arg == Some(Arg::Rest));
        free.then(|| self.words.get(1..).unwrap_or_default())
    }

    /// Takes a word.
    ///
    /// # Errors
    /// It cannot stand here.
    pub fn step(&mut self, word: &str) -> Result<(), Wrong> {
        if self.rest {
            self.words.push(word.into());
            return Ok(());
        }
        let next = self.next();
        let node = self.choose(&next, word)?;
        self.words.push(if node.arg.is_some() { word.into() } else { node.word.into() });
        self.rest = node.arg == Some(Arg::Rest);
        if let Some((owner, used)) = &mut self.owner {
            if owner.options.iter().any(|option| std::ptr::eq(option, node)) {
                used.push(node.word);
            } else if owner.children.iter().any(|child| std::ptr::eq(child, node)) {
                self.owner = None;
            }
        }
        if !node.options.is_empty() {
            self.owner = Some((node, Vec::new()));
        }
        self.at = node;
        Ok(())
    }

    fn is_owner(&self) -> bool {
        self.owner.as_ref().is_some_and(|(owner, _)| std::ptr::eq(*owner, self.at))
    }

    fn choose(&self, next: &[&'a Node], word: &str) -> Result<&'a Node, Wrong> {
        let fixed = || next.iter().filter(|node| node.arg.is_none());
        if let Some(node) = fixed().find(|node| node.word == word) {
            return Ok(node);
        }
        let lower = word.to_lowercase();
        let meant: Vec<&&Node> =
            fixed().filter(|node| !word.is_empty() && node.word.starts_with(&lower)).collect();
        let value = next.iter().find(|node| node.arg.is_some());
        match (meant.as_slice(), value) {
            ([node], None) => Ok(node),
            ([], None) => {
                let whole = self.at.children.iter().chain(&self.at.options);
                if whole.clone().any(|node| node.role > self.role && node.word.starts_with(&lower)) {
                    return Err(Wrong::NotAllowed(word.into()));
                }
                Err(Wrong::Unknown(word.into(), next.iter().map(|node| node.shown()).collect()))
            }
            (several, None) => {
                Err(Wrong::Ambiguous(word.into(), several.iter().map(|node| node.word.into()).collect()))
            }
            // A value may be anything; an abbreviation has no place beside it.
            (_, Some(node)) => match node.arg.map(|arg| accepts(arg, word)) {
                Some(Err(what)) => Err(Wrong::BadValue(word.into(), what)),
                _ => Ok(node),
            },
        }
    }
}

/// Reads a line's words as a command.
///
/// # Errors
/// What is wrong with them.
pub fn parse<'a, T: AsRef<str>>(root: &'a Node, words: &[T], role: Role) -> Result<Command<'a>, Wrong> {
    let mut walk = Walk::new(root, role);
    for word in words {
        walk.step(word.as_ref())?;
    }
    match walk.does() {
        Some(does) => Ok(Command { words: walk.words, does }),
        None => Err(Wrong::Incomplete(walk.next().iter().map(|node| node.shown()).collect())),
    }
}

/// Checks a value. An error says what has to stand there.
fn accepts(arg: Arg, word: &str) -> Result<(), String> {
    let fits = match arg {
        Arg::Site | Arg::Segment | Arg::Port | Arg::Reason | Arg::Word | Arg::Rest => !word.is_empty(),
        Arg::Mac => {
            let digits = word.chars().filter(|c| !matches!(c, ':' | '-' | '.'));
            digits.clone().count() == 12 && digits.clone().all(|c| c.is_ascii_hexdigit())
        }
        Arg::Ip => word.parse::<std::net::IpAddr>().is_ok(),
        Arg::Number(least, most) => word.parse().is_ok_and(|number| (least..=most).contains(&number)),
    };
    if fits {
        return Ok(());
    }
    Err(match arg {
        Arg::Mac => "a MAC address: 02:00:00:00:00:01".into(),
        Arg::Ip => "an IP address".into(),
        Arg::Number(least, most) => format!("a number from {least} to {most}"),
        _ => "a name".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Node {
        let view: View = |_| String::new();
        word("", "").then([
            word("show", "").then([
                word("ports", "").asks(view),
                word("policy", "").asks(view),
                word("macs", "").asks(view).with([
                    word("site", "").then([value("NAME", Arg::Site, "")]),
                    word("limit", "").then([value("N", Arg::Number(1, 9), "")]),
                    word("all", ""),
                ]),
            ]),
            word("clear", "").then([word("macs", "").asks(view)]).admin(),
            word("set", "").then([value("KEY", Arg::Rest, "").asks(view)]),
        ])
    }

    fn parsed(line: &str, role: Role) -> Result<String, Wrong> {
        let words = crate::words::split(line);
        parse(&tree(), &words, role).map(|command| command.words.join(" "))
    }

    #[test]
    fn abbreviations_options_and_roles() {
        let admin = |line| parsed(line, Role::Admin);
        assert_eq!(admin("sh por").as_deref(), Ok("show ports"));
        assert_eq!(admin("sh mac li 3 site x").as_deref(), Ok("show macs limit 3 site x"));
        assert_eq!(admin("sh mac all").as_deref(), Ok("show macs all"));
        assert_eq!(admin("set a b | c").as_deref(), Ok("set a b | c"));
        assert!(matches!(admin("sh po"), Err(Wrong::Ambiguous(_, which)) if which.len() == 2));
        assert!(matches!(admin("sh"), Err(Wrong::Incomplete(_))));
        assert!(matches!(admin("sh mac site"), Err(Wrong::Incomplete(_))));
        assert!(matches!(admin("sh mac site x site y"), Err(Wrong::Unknown(..))), "once");
        assert!(matches!(admin("sh mac limit 10"), Err(Wrong::BadValue(..))));
        assert!(matches!(admin("sh ports x"), Err(Wrong::Unknown(_, known)) if known.is_empty()));
        assert_eq!(parsed("clear macs", Role::Operator), Err(Wrong::NotAllowed("clear".into())));
        assert_eq!(admin("clear macs").as_deref(), Ok("clear macs"));
    }
}
