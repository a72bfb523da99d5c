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

/// Questions that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    next: u64,
    open: HashMap<u64, (SessionIndex, Now)>,
    answered: HashMap<u64, Option<Details>>,
    /// By session: the second, and how many questions were answered in it.
    budgets: HashMap<SessionIndex, (u64, u32)>,
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

    /// Whether another question of the other end of `session` is answered now.
    pub(super) fn allows(&mut self, session: SessionIndex, now: Now) -> bool {
        let (second, used) = self.budgets.entry(session).or_default();
        if *second != now.as_secs() {
            (*second, *used) = (now.as_secs(), 0);
        }
        *used += 1;
        *used <= QUESTIONS_A_SECOND
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
        let answered = (0..200).filter(|_| asks.allows(SITE, SECOND)).count();
        assert_eq!(answered, 50);
        assert!(asks.allows(SITE, SECOND * 2) && asks.allows(SessionIndex(0), SECOND));
    }

    #[test]
    fn texts_of_the_other_end_cannot_speak_to_a_terminal() {
        let details = vec![("\x1b[2J".to_owned(), Detail::Text("a\x07b\u{9b}c".into()))];
        let text = to_json(&details).to_string();
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}
