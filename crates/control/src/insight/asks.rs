//! Questions to the other ends, and answers to theirs (protocol 2.5).

use std::collections::HashMap;
use std::time::Duration;

use bridge::SessionIndex;
use serde_json::{Map, Value};
use session::Now;
use session::question::{Detail, Details};

/// An answer that has not come by then will not: the other end is of an older version, or has lost its control connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions of one session that are answered in a second.
const QUESTIONS_A_SECOND: u32 = 50;

/// Those among them that have us look at everything: of one session, and of all together, so that no number of sites takes the time
/// of the control thread.
const LOOKS_A_SECOND: u32 = 10;
const LOOKS_OF_ALL_A_SECOND: u32 = 40;

/// Questions that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    next: u64,
    open: HashMap<u64, (SessionIndex, Now)>,
    answered: HashMap<u64, Option<Details>>,
    questions: Budgets,
    looks: Budgets,
}

/// How many questions were answered in this second.
#[derive(Debug, Default)]
struct Budgets {
    second: u64,
    of: HashMap<SessionIndex, u32>,
    of_all: u32,
}

impl Budgets {
    /// Whether there is one more for a session.
    fn take(&mut self, session: SessionIndex, now: Now, most: u32, most_of_all: u32) -> bool {
        if self.second != now.as_secs() {
            *self = Self { second: now.as_secs(), ..Self::default() };
        }
        let used = self.of.entry(session).or_default();
        let left = *used < most && self.of_all < most_of_all;
        if left {
            *used += 1;
            self.of_all += 1;
        }
        left
    }
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Not yet anything.
    Waiting,
    /// The other end does not know, or does not speak of such things.
    NotKnown,
    /// This.
    Known(Details),
}

impl Asks {
    /// Numbers a question.
    pub(super) fn ask(&mut self, session: SessionIndex, now: Now) -> u64 {
        self.next += 1;
        self.open.insert(self.next, (session, now + PATIENCE));
        self.next
    }

    /// Takes an answer of the other end of `session`.
    pub(super) fn answered(&mut self, session: SessionIndex, number: u64, details: Option<Details>) {
        if self.open.get(&number).is_some_and(|(asked, _)| *asked == session) {
            self.open.remove(&number);
            self.answered.insert(number, details);
        }
    }

    /// What became of a question; told once.
    pub(super) fn take(&mut self, number: u64, now: Now) -> Answered {
        match self.answered.remove(&number) {
            Some(Some(details)) => Answered::Known(details),
            Some(None) => Answered::NotKnown,
            None if self.open.get(&number).is_some_and(|(_, until)| now < *until) => Answered::Waiting,
            None => {
                self.open.remove(&number);
                Answered::NotKnown
            }
        }
    }

    /// Forgets what nobody came for.
    pub(super) fn tidy(&mut self, now: Now) {
        self.open.retain(|_, (_, until)| now < *until + PATIENCE);
        let open = self.next.saturating_sub(1000);
        self.answered.retain(|number, _| *number > open);
    }

    /// Whether another question of this kind of the other end of `session` is answered now.
    pub(super) fn allows(&mut self, session: SessionIndex, kind: &str, now: Now) -> bool {
        self.questions.take(session, now, QUESTIONS_A_SECOND, u32::MAX)
            && (!matches!(kind, "segment" | "explain")
                || self.looks.take(session, now, LOOKS_A_SECOND, LOOKS_OF_ALL_A_SECOND))
    }
}

/// Details of the other end as JSON; its texts are made fit to be shown.
pub(super) fn to_json(details: &Details) -> Value {
    let pairs = details.iter().map(|(name, value)| (printable(name), value_to_json(value)));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

fn value_to_json(value: &Detail) -> Value {
    match value {
        Detail::Bool(value) => (*value).into(),
        Detail::Uint(number) => (*number).into(),
        Detail::Text(text) => printable(text).into(),
        Detail::Bytes(bytes) => bytes.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into(),
        Detail::List(values) => values.iter().map(value_to_json).collect(),
        Detail::Map(details) => to_json(details),
        Detail::Other => Value::Null,
    }
}

/// Our own JSON as details for the other end.
pub(super) fn of_json(value: &Value) -> Detail {
    match value {
        Value::Null => Detail::Other,
        Value::Bool(value) => Detail::Bool(*value),
        Value::Number(number) => Detail::Uint(number.as_u64().unwrap_or_default()),
        Value::String(text) => Detail::Text(text.clone()),
        Value::Array(values) => Detail::List(values.iter().map(of_json).collect()),
        Value::Object(map) => Detail::Map(details_of(map)),
    }
}

pub(super) fn details_of(map: &Map<String, Value>) -> Details {
    map.iter().map(|(name, value)| (name.clone(), of_json(value))).collect()
}

/// Text of the other end, without control characters and of bounded length.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(500)
        .flat_map(|char| {
            let bad = char.is_control();
            let escaped: Vec<char> = if bad { char.escape_debug().collect() } else { vec![char] };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: SessionIndex = SessionIndex(3);
    const SECOND: Now = Duration::from_secs(1);

    #[test]
    fn an_answer_is_of_who_was_asked_and_comes_in_time() {
        let mut asks = Asks::default();
        let number = asks.ask(SITE, SECOND);
        assert_eq!(asks.take(number, SECOND), Answered::Waiting);
        asks.answered(SessionIndex(4), number, None);
        assert_eq!(asks.take(number, SECOND), Answered::Waiting, "of somebody else");
        asks.answered(SITE, number, Some(Vec::new()));
        assert_eq!(asks.take(number, SECOND), Answered::Known(Vec::new()));
        assert_eq!(asks.take(number, SECOND), Answered::NotKnown, "told once");
        let late = asks.ask(SITE, SECOND);
        assert_eq!(asks.take(late, SECOND + PATIENCE), Answered::NotKnown);
        asks.answered(SITE, late, Some(Vec::new()));
        assert!(asks.answered.is_empty(), "nobody waits");
    }

    #[test]
    fn curiosity_is_bounded() {
        let mut asks = Asks::default();
        let answered = |asks: &mut Asks, session: u16, kind: &str, second: u32| {
            (0..200).filter(|_| asks.allows(SessionIndex(session), kind, SECOND * second)).count()
        };
        assert_eq!(answered(&mut asks, 3, "path", 1), 50);
        assert_eq!(answered(&mut asks, 0, "path", 1), 50, "another's");
        assert_eq!(answered(&mut asks, 3, "segment", 2), 10);
        assert_eq!(answered(&mut asks, 3, "explain", 2), 0, "they cost the same");
        assert_eq!(answered(&mut asks, 3, "arrived", 2), 0, "the whole is bounded as well");
        let all: usize = (0..1000).map(|session| answered(&mut asks, session, "segment", 3)).sum();
        assert_eq!(all, 40, "however many sites ask");
        assert_eq!(answered(&mut asks, 3, "segment", 4), 10);
    }

    #[test]
    fn texts_of_the_other_end_cannot_speak_to_a_terminal() {
        let details = vec![("\x1b[2J".to_owned(), Detail::Text("a\x07b\u{9b}c".into()))];
        let text = to_json(&details).to_string();
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}
