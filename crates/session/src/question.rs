//! Questions to the other end and their answers (protocol 2.5): one appliance asks another what it knows, for its operator.
//!
//! What is asked and answered is [`Details`], a map of names to values, so that either end can know more than the other.

use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder};

use crate::message::{Malformed, bad, body};

/// How deep values are nested, and how many there are of them, at most.
const MAX_DEPTH: usize = 6;
const MAX_VALUES: usize = 4096;

/// Names and values, in order.
pub type Details = Vec<(String, Detail)>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Uint(u64),
    /// A text. Comes from the peer: not to be printed raw.
    Text(String),
    /// Octets.
    Bytes(Vec<u8>),
    /// Several values.
    List(Vec<Self>),
    /// Names and values.
    Map(Details),
    /// Of a kind that this version does not know, or null.
    Other,
}

/// One side asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// By which the answer is known.
    pub number: u64,
    /// What is asked.
    pub kind: String,
    /// About what.
    pub details: Details,
}

/// The other answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question's number.
    pub number: u64,
    /// What is known; `None` if the question is not understood, or not answered now.
    pub details: Option<Details>,
}

/// The value of a name.
pub fn get<'a>(details: &'a Details, name: &str) -> Option<&'a Detail> {
    details.iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

impl Detail {
    /// The number that it is.
    pub fn uint(&self) -> Option<u64> {
        if let Self::Uint(number) = self { Some(*number) } else { None }
    }

    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The octets that it is.
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// Whether it is a yes.
    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    fn write<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Bool(value) => e.bool(*value).map(drop),
            Self::Uint(number) => e.u64(*number).map(drop),
            Self::Text(text) => e.str(text).map(drop),
            Self::Bytes(bytes) => e.bytes(bytes).map(drop),
            Self::List(values) => {
                e.array(values.len() as u64)?;
                values.iter().try_for_each(|value| value.write(e))
            }
            Self::Map(details) => write_details(details, e),
            Self::Other => e.null().map(drop),
        }
    }

    fn read(d: &mut Decoder<'_>, depth: usize, left: &mut usize) -> Result<Self, Malformed> {
        use minicbor::data::Type;
        if depth == 0 {
            return Err(bad("values nested too deeply"));
        }
        *left = left.checked_sub(1).ok_or_else(|| bad("too many values"))?;
        Ok(match d.datatype()? {
            Type::Bool => Self::Bool(d.bool()?),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Self::Uint(d.u64()?),
            Type::String => Self::Text(d.str()?.to_owned()),
            Type::Bytes => Self::Bytes(d.bytes()?.to_vec()),
            Type::Array => {
                let count = d.array()?.ok_or_else(|| bad("an array of indefinite length"))?;
                // As many as come: the count is the peer's word.
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(Self::read(d, depth - 1, left)?);
                }
                Self::List(values)
            }
            Type::Map => Self::Map(read_details(d, depth - 1, left)?),
            _ => {
                d.skip()?;
                Self::Other
            }
        })
    }
}

fn write_details<W: Write>(
    details: &Details,
    e: &mut Encoder<W>,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.map(details.len() as u64)?;
    for (name, value) in details {
        e.str(name)?;
        value.write(e)?;
    }
    Ok(())
}

/// Reads what a message holds.
fn all(d: &mut Decoder<'_>) -> Result<Details, Malformed> {
    let mut left = MAX_VALUES;
    read_details(d, MAX_DEPTH, &mut left)
}

fn read_details(d: &mut Decoder<'_>, depth: usize, left: &mut usize) -> Result<Details, Malformed> {
    let count = d.map()?.ok_or_else(|| bad("a map of indefinite length"))?;
    let mut details = Vec::new();
    for _ in 0..count {
        let name = d.str()?.to_owned();
        details.push((name, Detail::read(d, depth, left)?));
    }
    Ok(details)
}

impl Question {
    pub(crate) fn write<W: Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.map(3)?.u8(1)?.u64(self.number)?.u8(2)?.str(&self.kind)?.u8(3)?;
        write_details(&self.details, e)
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (mut number, mut kind, mut details) = (None, None, Vec::new());
        body(d, |key, d| {
            match key {
                1 => number = Some(d.u64()?),
                2 => kind = Some(d.str()?.to_owned()),
                3 => details = all(d)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let missing = || bad("a question without a key that it needs");
        Ok(Self { number: number.ok_or_else(missing)?, kind: kind.ok_or_else(missing)?, details })
    }
}

impl Answer {
    pub(crate) fn write<W: Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.map(if self.details.is_some() { 2 } else { 1 })?.u8(1)?.u64(self.number)?;
        if let Some(details) = &self.details {
            e.u8(2)?;
            write_details(details, e)?;
        }
        Ok(())
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (mut number, mut details) = (None, None);
        body(d, |key, d| {
            match key {
                1 => number = Some(d.u64()?),
                2 => details = Some(all(d)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { number: number.ok_or_else(|| bad("an answer without a number"))?, details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use proptest::prelude::*;

    fn details() -> Details {
        let list = vec![Detail::Uint(1), Detail::Text("x".into()), Detail::Other];
        let inner = vec![("bytes".into(), Detail::Bytes(vec![1, 2])), ("no".into(), Detail::Bool(false))];
        vec![("list".into(), Detail::List(list)), ("map".into(), Detail::Map(inner))]
    }

    fn messages() -> [Message; 3] {
        [
            Message::Question(Question { number: 7, kind: "segment".into(), details: details() }),
            Message::Answer(Answer { number: 7, details: Some(details()) }),
            Message::Answer(Answer { number: u64::MAX, details: None }),
        ]
    }

    #[test]
    fn questions_and_answers_round_trip() {
        for message in messages() {
            assert_eq!(Message::decode(&message.encode()).expect("well-formed"), message);
        }
        assert_eq!(get(&details(), "map").map(Detail::is_true), Some(false));
        assert!(get(&details(), "none").is_none());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let deep = |depth: usize| {
            let mut value = Detail::Uint(1);
            for _ in 0..depth {
                value = Detail::List(vec![value]);
            }
            Message::Answer(Answer { number: 1, details: Some(vec![("deep".into(), value)]) }).encode()
        };
        assert!(Message::decode(&deep(5)).is_ok());
        assert!(Message::decode(&deep(6)).is_err());
        assert!(Message::decode(&deep(1000)).is_err());
        let many = vec![("many".into(), Detail::List(vec![Detail::Bool(true); MAX_VALUES]))];
        assert!(
            Message::decode(&Message::Answer(Answer { number: 1, details: Some(many) }).encode()).is_err()
        );
    }

    proptest! {
        #[test]
        fn cut_and_changed_ones_do_not_panic(which in 0..3usize, cut: prop::sample::Index, at: prop::sample::Index, to: u8) {
            let mut bytes = messages()[which].encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = Message::decode(&bytes);
        }
    }
}
