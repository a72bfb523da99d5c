//! The way through the tree, word by word: what may follow, what is wrong, and where a command is whole.

use std::net::IpAddr;

use super::{Arg, Does, Node, Role};

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
    /// What the command does that was whole last: words that may end it do no more than that.
    begun: Option<&'a Does>,
    /// Parentheses that are open.
    open: usize,
    /// Words so far, none abbreviated.
    pub words: Vec<String>,
    rest: bool,
}

impl<'a> Walk<'a> {
    /// Begins at the root.
    pub fn new(root: &'a Node, role: Role) -> Self {
        Self { role, at: root, owner: None, begun: None, open: 0, words: Vec::new(), rest: false }
    }

    /// What may follow.
    pub fn next(&self) -> Vec<&'a Node> {
        let mut next: Vec<&'a Node> = self.at.following().collect();
        if let Some((owner, used)) = self.owner.as_ref().filter(|_| self.at.is_last() || self.is_owner()) {
            if !self.is_owner() {
                next.extend(owner.following());
            }
            next.extend(owner.options.iter().filter(|option| !used.contains(&option.word)));
        }
        next.retain(|node| node.role <= self.role && (node.word != ")" || self.open > 0));
        next
    }

    /// What has to follow, of all that may: nothing if the command is whole.
    pub fn lacks(&self) -> Vec<&'a Node> {
        let next = self.next();
        let needed: Vec<&'a Node> = next.iter().copied().filter(|node| node.needed).collect();
        if needed.is_empty() { next } else { needed }
    }

    /// Whether a command may end here.
    pub fn does(&self) -> Option<&'a Does> {
        if self.open > 0 {
            return None;
        }
        match &self.owner {
            // An option has no command of its own.
            Some((owner, used)) if self.is_owner() || self.at.is_last() => {
                let is_whole =
                    owner.options.iter().all(|option| !option.needed || used.contains(&option.word));
                owner.does.as_ref().filter(|_| is_whole)
            }
            Some(_) => None,
            None => self.at.does.as_ref().or(self.begun.filter(|_| self.at.ends)),
        }
    }

    /// What was said behind the first word, if the rest of the line is free.
    pub fn rest(&self) -> Option<&[String]> {
        let free = self.rest || self.next().iter().any(|node| node.arg == Some(Arg::Rest));
        free.then(|| self.words.get(1..).unwrap_or_default())
    }

    /// Whether parentheses may stand close to the next word.
    pub(crate) fn is_close(&self) -> bool {
        self.next().iter().any(|node| node.close)
    }

    /// Takes a word.
    ///
    /// # Errors
    /// It cannot stand here.
    pub fn step(&mut self, word: &str) -> Result<(), Wrong> {
        if !self.rest && self.is_close() {
            return pieces(word).iter().try_for_each(|piece| self.take(piece));
        }
        self.take(word)
    }

    fn take(&mut self, word: &str) -> Result<(), Wrong> {
        if self.rest {
            self.words.push(word.into());
            return Ok(());
        }
        let next = self.next();
        let node = self.choose(&next, word)?;
        self.words.push(match node.arg {
            None => node.word.into(),
            Some(Arg::Choice(words)) => chosen(words, word).map_or_else(|_| word.into(), str::to_owned),
            Some(Arg::Mac) => with_colons(word),
            Some(_) => word.into(),
        });
        self.rest = node.arg == Some(Arg::Rest);
        match node.word {
            "(" => self.open += 1,
            ")" => self.open -= 1,
            _ => {}
        }
        if let Some((owner, used)) = &mut self.owner {
            if owner.options.iter().any(|option| std::ptr::eq(option, node)) {
                used.push(node.word);
            } else if owner.following().any(|child| std::ptr::eq(child, node)) {
                self.owner = None;
            }
        }
        if !node.options.is_empty() {
            self.owner = Some((node, Vec::new()));
        }
        self.begun = node.does.as_ref().or(self.begun);
        self.at = node;
        Ok(())
    }

    fn is_owner(&self) -> bool {
        self.owner.as_ref().is_some_and(|(owner, _)| std::ptr::eq(*owner, self.at))
    }

    /// A word as it stands comes before a value, and a value before a word that is abbreviated.
    fn choose(&self, next: &[&'a Node], word: &str) -> Result<&'a Node, Wrong> {
        let fixed = || next.iter().copied().filter(|node| node.arg.is_none());
        if let Some(node) = fixed().find(|node| node.word == word) {
            return Ok(node);
        }
        let mut wrong = None;
        for (node, arg) in next.iter().filter_map(|node| Some((*node, node.arg?))) {
            match accepts(arg, word) {
                Ok(()) => return Ok(node),
                Err(what) => wrong = Some(what),
            }
        }
        let lower = word.to_lowercase();
        let meant: Vec<&'a Node> =
            fixed().filter(|node| !word.is_empty() && node.word.starts_with(&lower)).collect();
        match (meant.as_slice(), wrong) {
            ([node], _) => Ok(node),
            ([], Some(wrong)) if fixed().next().is_none() => Err(wrong),
            ([], _) => {
                let mut whole = self.at.following().chain(&self.at.options);
                if whole.any(|node| node.role > self.role && node.word.starts_with(&lower)) {
                    return Err(Wrong::NotAllowed(word.into()));
                }
                Err(Wrong::Unknown(word.into(), next.iter().map(|node| node.shown()).collect()))
            }
            (several, _) => {
                Err(Wrong::Ambiguous(word.into(), several.iter().map(|node| node.word.into()).collect()))
            }
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
        None => Err(Wrong::Incomplete(walk.lacks().iter().map(|node| node.shown()).collect())),
    }
}

/// Checks a value. An error says what has to stand there.
fn accepts(arg: Arg, word: &str) -> Result<(), Wrong> {
    let port = |text: &str| text.parse::<u16>().is_ok();
    let fits = match arg {
        Arg::Site | Arg::Segment | Arg::Port | Arg::Word | Arg::Rest => !word.is_empty(),
        Arg::Reason => counters::DropReason::ALL.iter().any(|reason| reason.name() == word),
        Arg::Mac => {
            let digits = word.chars().filter(|c| !matches!(c, ':' | '-' | '.'));
            digits.clone().count() == 12 && digits.clone().all(|c| c.is_ascii_hexdigit())
        }
        Arg::Ip => word.parse::<IpAddr>().is_ok(),
        Arg::Net => word.split_once('/').is_some_and(|(address, len)| {
            let most = address.parse().map(|address: IpAddr| if address.is_ipv4() { 32 } else { 128 });
            most.is_ok_and(|most| len.parse::<u8>().is_ok_and(|len| len <= most))
        }),
        Arg::PortRange => word.split_once('-').is_some_and(|(first, last)| port(first) && port(last)),
        Arg::EtherType => match word.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).is_ok(),
            None => port(word),
        },
        Arg::Number(least, most) => word.parse().is_ok_and(|number| (least..=most).contains(&number)),
        Arg::Choice(words) => return chosen(words, word).map(drop),
    };
    if fits {
        return Ok(());
    }
    let what = match arg {
        Arg::Mac => "a MAC address: 02:00:00:00:00:01".into(),
        Arg::Ip => "an IP address".into(),
        Arg::Net => "a network: 10.0.0.0/8".into(),
        Arg::PortRange => "a range of ports: 8000-8099".into(),
        Arg::EtherType => "an EtherType: 0x0806".into(),
        Arg::Number(least, most) => format!("a number from {least} to {most}"),
        Arg::Reason => "a reason for drops; ? lists them, and show counters tells what they mean".into(),
        _ => "a name".into(),
    };
    Err(Wrong::BadValue(word.into(), what))
}

/// The one of these words that is meant.
fn chosen<'w>(words: &[&'w str], word: &str) -> Result<&'w str, Wrong> {
    let lower = word.to_lowercase();
    let mut meant = words.iter().copied().filter(|choice| !word.is_empty() && choice.starts_with(&lower));
    match (words.iter().find(|choice| **choice == word), meant.next(), meant.next()) {
        (Some(whole), ..) => Ok(whole),
        (None, Some(only), None) => Ok(only),
        (None, Some(first), Some(second)) => Err(Wrong::Ambiguous(
            word.into(),
            [first, second].into_iter().chain(meant).map(Into::into).collect(),
        )),
        (None, None, _) => Err(Wrong::BadValue(word.into(), format!("one of {}", words.join(", ")))),
    }
}

/// A MAC address as all that read one take it, however its digits were grouped.
fn with_colons(mac: &str) -> String {
    let digits: Vec<char> = mac.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|octet| octet.iter().collect::<String>()).collect::<Vec<_>>().join(":")
}

/// What stands close together: words in quotes, parentheses, and the other ways to write `and`, `or` and `not`.
fn pieces(word: &str) -> Vec<String> {
    let text = word.replace('(', " ( ").replace(')', " ) ").replace("&&", " and ").replace("||", " or ");
    let pieces = text.split_whitespace().map(|piece| if piece == "!" { "not" } else { piece }.to_owned());
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{View, value, word};
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

    fn of_root(line: &str) -> Result<String, String> {
        let words = crate::words::split(line);
        let parsed = parse(crate::commands::root(), &words, Role::Admin);
        parsed.map(|command| crate::words::join(&command.words)).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn frames_and_filters_are_read_word_by_word() {
        for (line, whole) in [
            (
                "expl seg x dst 0200.0000.0002 src 02:00:00:00:00:01",
                "explain segment x dst 02:00:00:00:00:02 src 02:00:00:00:00:01",
            ),
            (
                "explain segment x fr bern si 60 ip fd00::1 src 020000000001 ds ffffffffffff",
                "explain segment x from bern size 60 ip fd00::1 src 02:00:00:00:00:01 dst ff:ff:ff:ff:ff:ff",
            ),
            ("explain live", "explain live"),
            ("explain live \"icmp and host 10.0.0.7\"", "explain live icmp and host 10.0.0.7"),
            ("capt li sec 5 cou 2 po \"a b\"", "capture lines seconds 5 count 2 port \"a b\""),
            ("capture lines drops", "capture lines drops"),
            (
                "capture lines drops hairpin (arp or ! icmp)",
                "capture lines drops hairpin ( arp or not icmp )",
            ),
            (
                "capture lines drops eth src 02:00:00:00:00:01",
                "capture lines drops ether src 02:00:00:00:00:01",
            ),
            (
                "cap li session s out udp dst port 443 and gr 100",
                "capture lines session s outside udp dst port 443 and greater 100",
            ),
        ] {
            assert_eq!(of_root(line).as_deref(), Ok(whole), "{line}");
        }
    }

    #[test]
    fn the_word_that_is_wrong_is_named() {
        for (line, told) in [
            ("explain", "incomplete; next: segment, live"),
            ("explain segment", "incomplete; next: <NAME>"),
            ("explain segment x src 02:00:00:00:00:01", "incomplete; next: dst"),
            ("explain segment x src 02:00:00:00:00", "\"02:00:00:00:00\" is not a MAC address"),
            ("explain segment x scr", "unknown \"scr\"; here: src, dst,"),
            ("explain segment x size 9", "\"9\" is not a number from 14 to 9728"),
            ("explain segment x size 60 size 60", "unknown \"size\""),
            ("explain segment x s", "\"s\" may be src, size"),
            ("capture lines", "incomplete; next: port, segment, session, drops"),
            ("capture lines count 0 port p", "\"0\" is not a number"),
            ("capture lines port p hots 1.2.3.4", "unknown \"hots\""),
            ("capture lines port p host me", "\"me\" is not an IP address"),
            ("capture lines port p net 10.0.0.0/33", "\"10.0.0.0/33\" is not a network"),
            ("capture lines port p (vlan 10", "incomplete; next: and, or, )"),
            ("capture lines port p arp)", "unknown \")\""),
            ("capture lines port p arp icmp", "unknown \"icmp\"; here:"),
            ("capture lines session s records icmp", "\"icmp\" is too much here"),
            ("capture lines drops nothing", "unknown \"nothing\""),
            ("show drops nothing", "\"nothing\" is not a reason for drops"),
            ("show log level loud", "\"loud\" is not one of error, warn, info, debug, trace"),
            ("debug control", "incomplete; next: <LEVEL>"),
        ] {
            let wrong = of_root(line).expect_err(line);
            assert!(wrong.contains(told), "{line}: {wrong}");
        }
    }
}
