//! The command tree: what may be said, by whom, with help for each word. Parsing, completion, `?` and the documents come from it.

mod walk;

use serde_json::Value;

pub use walk::{Command, Walk, Wrong, parse};

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
    /// An IP network: `10.0.0.0/8`.
    Net,
    /// Ports from one to another: `8000-8099`.
    PortRange,
    /// An EtherType: `0x0806`, or decimal.
    EtherType,
    /// A whole number within limits.
    Number(u64, u64),
    /// One of these words, which may be abbreviated.
    Choice(&'static [&'static str]),
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
    /// As an option: without it the command is not whole.
    pub needed: bool,
    /// What may follow besides is what may follow this one. So words come back to where others were.
    pub goes_on: Option<fn() -> &'static Node>,
    /// A command that has begun before may end here.
    pub ends: bool,
    /// Parentheses may stand close to the word, and several such words in one pair of quotes.
    pub close: bool,
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
        needed: false,
        goes_on: None,
        ends: false,
        close: false,
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

    /// A command is not whole without this option.
    #[must_use]
    pub fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    /// What may follow that one may follow here too.
    #[must_use]
    pub fn goes_on(self, like: fn() -> &'static Node) -> Self {
        Self { goes_on: Some(like), ..self }
    }

    /// A command that has begun before may end here.
    #[must_use]
    pub fn ends(self) -> Self {
        Self { ends: true, ..self }
    }

    /// What may follow: its children, and those of the node that it goes on like.
    pub fn following(&self) -> impl Iterator<Item = &Node> {
        self.children.iter().chain(self.goes_on.into_iter().flat_map(|like| &like().children))
    }

    /// Whether nothing can follow.
    pub(crate) fn is_last(&self) -> bool {
        self.children.is_empty() && self.goes_on.is_none()
    }

    /// How help writes it.
    pub fn shown(&self) -> String {
        if self.arg.is_some() { format!("<{}>", self.word) } else { self.word.into() }
    }
}
