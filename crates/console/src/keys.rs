//! Octets of a terminal to keys: UTF-8, control characters and escape sequences.

/// Most octets of an escape sequence that are kept.
const MAX_SEQUENCE: usize = 8;

/// A key, or what a terminal sends for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// The end of a line.
    Enter,
    /// Completes.
    Tab,
    /// Removes the character before the cursor.
    Backspace,
    /// Removes the one at the cursor.
    Delete,
    /// One character to the left.
    Left,
    /// One to the right.
    Right,
    /// One word to the left.
    WordLeft,
    /// One to the right.
    WordRight,
    /// The line before in the history.
    Up,
    /// The line after.
    Down,
    /// The beginning of the line.
    Home,
    /// Its end.
    End,
    /// Control and a letter, which is given in lower case.
    Control(char),
}

/// Takes octets, gives keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    state: State,
    /// The octets of a character or a sequence that is not whole yet.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After a carriage return: a line feed or NUL belongs to it (RFC 854).
    Return,
    /// So many octets of a character are missing.
    Utf8(u8),
    Escape,
    Sequence,
    /// ESC O.
    Single,
}

impl Keys {
    /// Takes one octet.
    pub(crate) fn receive(&mut self, octet: u8) -> Option<Key> {
        match std::mem::take(&mut self.state) {
            State::Return if matches!(octet, b'\n' | 0) => None,
            State::Ground | State::Return => self.ground(octet),
            State::Utf8(missing) if octet & 0xc0 == 0x80 => {
                self.held.push(octet);
                if missing > 1 {
                    self.state = State::Utf8(missing - 1);
                    return None;
                }
                let held = std::mem::take(&mut self.held);
                // What is no character is nothing.
                std::str::from_utf8(&held).ok()?.chars().next().filter(|c| !c.is_control()).map(Key::Char)
            }
            State::Utf8(_) => self.ground(octet),
            State::Escape => match octet {
                b'[' => self.begin(State::Sequence),
                b'O' => self.begin(State::Single),
                b'b' => Some(Key::WordLeft),
                b'f' => Some(Key::WordRight),
                0x7f | 8 => Some(Key::Control('w')),
                0x1b => self.begin(State::Escape),
                _ => None,
            },
            State::Single => single(octet),
            State::Sequence => match octet {
                0x20..=0x3f => {
                    self.state = State::Sequence;
                    if self.held.len() < MAX_SEQUENCE {
                        self.held.push(octet);
                    }
                    None
                }
                0x40..=0x7e => sequence(&self.held, octet),
                octet => self.ground(octet),
            },
        }
    }

    fn begin(&mut self, state: State) -> Option<Key> {
        self.held.clear();
        self.state = state;
        None
    }

    fn ground(&mut self, octet: u8) -> Option<Key> {
        match octet {
            b'\r' => {
                self.state = State::Return;
                Some(Key::Enter)
            }
            b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            8 | 0x7f => Some(Key::Backspace),
            0x1b => self.begin(State::Escape),
            1..=26 => Some(Key::Control(char::from(octet + b'a' - 1))),
            b' '..=b'~' => Some(Key::Char(char::from(octet))),
            0xc2..=0xdf => self.character(octet, 1),
            0xe0..=0xef => self.character(octet, 2),
            0xf0..=0xf4 => self.character(octet, 3),
            _ => None,
        }
    }

    fn character(&mut self, octet: u8, missing: u8) -> Option<Key> {
        self.begin(State::Utf8(missing));
        self.held.push(octet);
        None
    }
}

fn single(octet: u8) -> Option<Key> {
    sequence(b"", octet)
}

/// A control sequence (ECMA-48): parameters and final octet.
fn sequence(parameters: &[u8], last: u8) -> Option<Key> {
    let modified = parameters.contains(&b';');
    Some(match (last, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) if modified => Key::WordRight,
        (b'D', _) if modified => Key::WordLeft,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"3") => Key::Delete,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(octets: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        octets.iter().filter_map(|octet| keys.receive(*octet)).collect()
    }

    #[test]
    fn sequences_and_characters() {
        assert_eq!(
            keys(b"a\x1b[D\x1b[3~\x1bOH\x1b[1;5C"),
            [Key::Char('a'), Key::Left, Key::Delete, Key::Home, Key::WordRight]
        );
        assert_eq!(keys("ü東".as_bytes()), [Key::Char('ü'), Key::Char('東')]);
        assert_eq!(keys(b"\r\n\r\0\n\r\r"), [Key::Enter; 5]);
        assert_eq!(keys(b"\xc3x\xff\xe0\x80\x80\x01"), [Key::Char('x'), Key::Control('a')], "no UTF-8");
        assert_eq!(keys(&[b"\x1b[".as_slice(), &[b'1'; 1000], b"~x"].concat()), [Key::Char('x')]);
    }

    proptest! {
        #[test]
        fn any_text_comes_through(text in "[^\\x00-\\x1f\\x7f-\\x9f]*") {
            let typed: String = keys(text.as_bytes()).iter().map(|key| match key {
                Key::Char(c) => *c,
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(typed, text);
        }

        #[test]
        fn garbage_is_bounded(octets in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut state = Keys::default();
            for octet in octets {
                state.receive(octet);
                prop_assert!(state.held.len() <= MAX_SEQUENCE);
            }
        }
    }
}
