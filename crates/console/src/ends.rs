//! What a console begins with, what it wants of its host, and what `help` says.

use zeroize::Zeroizing;

use crate::tree::Role;

/// How a console begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What stands in the prompt.
    pub name: String,
    /// Offer the telnet options for single keys and the window's size. Without, whole lines are expected.
    pub telnet: bool,
    /// Who it is, when that is known; else there is a login.
    pub user: Option<(String, Role)>,
}

/// Somebody else in the configuration mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Who.
    pub user: String,
    /// Where from.
    pub from: String,
    /// Since when.
    pub since: String,
}

/// What the console wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Check a user and password, then call [`crate::Console::logged_in`].
    Login {
        /// The user's name, as it was typed.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// Ask the appliance, then call [`crate::Console::answer`], or first [`crate::Console::line`] any number of times.
    Ask(String),
    /// Nobody waits for the answer any more, nor for what was not sent of one.
    Cancel,
    /// A command that needs no answer was given, or one that is none: its line and what became of it.
    Did(String, String),
    /// Close the connection when all output is sent.
    Close,
}

/// What `help` says.
pub(crate) const HELP: &str = "\
?  shows what may follow, at every point; the tab key completes; words may be abbreviated.
A name with blanks stands in double quotes.
| include X, exclude X, begin X keep lines; | count counts them; | json shows the answer as JSON.
Keys: arrows, Home, End, ^A ^E begin and end of the line; ^W word, ^U and ^K line away; ^Y back again;
^P ^N lines before and after; ^L clear the window; ^C leave it; ^V takes the next key as it is.
^D ends the console, and with it a capture, ping or test that goes on.
Long answers come in pages: space next page, Enter next line, q no more. terminal length 0 turns pages off.
";
