//! Telnet (RFC 854) with the options that a console needs: ECHO (RFC 857), SUPPRESS-GO-AHEAD (RFC 858) and window size (NAWS, RFC 1073).
//! All others are refused. An option is answered when it changes something, so that two ends cannot answer each other for ever (RFC 1143).

/// Most octets of a subnegotiation; a window size has 4.
const MAX_SUB: usize = 32;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const EL: u8 = 248;
const EC: u8 = 247;
const AYT: u8 = 246;
const IP: u8 = 244;
const BRK: u8 = 243;
const SE: u8 = 240;

const ECHO: u8 = 1;
const SGA: u8 = 3;
const NAWS: u8 = 31;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Echoes, and wants to know the window's size.
    Server,
    /// Lets the server echo, and tells the window's size.
    Client,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An octet of data.
    Octet(u8),
    /// The other end agreed to, or ended, our echo: it sends each key as it is typed, or whole lines.
    Echo(bool),
    /// The window has so many columns and rows.
    Window(u16, u16),
    /// The other end wants to know the window's size from now on.
    WindowWanted,
}

/// One end's protocol state.
#[derive(Debug)]
pub struct Telnet {
    side: Side,
    state: State,
    sub: Vec<u8>,
    /// Options that we perform, that the other end performs, and those of both that we have asked for.
    ours: Options,
    theirs: Options,
    asked_ours: Options,
    asked_theirs: Options,
    output: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Command,
    Option(u8),
    Sub,
    SubCommand,
}

/// A set of the options that there are.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    echo: bool,
    sga: bool,
    naws: bool,
}

impl Options {
    fn get(&mut self, option: u8) -> Option<&mut bool> {
        match option {
            ECHO => Some(&mut self.echo),
            SGA => Some(&mut self.sga),
            NAWS => Some(&mut self.naws),
            _ => None,
        }
    }
}

impl Telnet {
    /// A connection on which nothing was said yet.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Data,
            sub: Vec::new(),
            ours: Options::default(),
            theirs: Options::default(),
            asked_ours: Options::default(),
            asked_theirs: Options::default(),
            output: Vec::new(),
        }
    }

    /// Offers to echo, and asks for the window's size.
    pub fn offer(&mut self) {
        self.asked_ours = Options { echo: true, sga: true, naws: false };
        self.asked_theirs = Options { echo: false, sga: false, naws: true };
        self.output.extend([IAC, WILL, ECHO, IAC, WILL, SGA, IAC, DO, NAWS]);
    }

    /// Tells the size of our window, if the other end has asked for it.
    pub fn window(&mut self, columns: u16, rows: u16) {
        if self.ours.naws {
            self.output.extend([IAC, SB, NAWS]);
            let size = [columns.to_be_bytes(), rows.to_be_bytes()].concat();
            self.output.extend(size.into_iter().flat_map(escaped));
            self.output.extend([IAC, SE]);
        }
    }

    /// What is to be sent as it is, without [`escaped`].
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Octets that [`Telnet::take_output`] would return.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Takes one octet.
    pub fn receive(&mut self, octet: u8) -> Option<Input> {
        match (self.state, octet) {
            (State::Data, IAC) => self.state = State::Command,
            (State::Data, octet) => return Some(Input::Octet(octet)),
            (State::Command, IAC) => {
                self.state = State::Data;
                return Some(Input::Octet(IAC));
            }
            (State::Command, WILL..=DONT) => self.state = State::Option(octet),
            (State::Command, SB) => {
                self.sub.clear();
                self.state = State::Sub;
            }
            (State::Command, command) => {
                self.state = State::Data;
                return self.command(command);
            }
            (State::Option(verb), option) => {
                self.state = State::Data;
                return self.option(verb, option);
            }
            (State::Sub, IAC) => self.state = State::SubCommand,
            (State::Sub, octet) => self.sub_octet(octet),
            (State::SubCommand, IAC) => {
                self.state = State::Sub;
                self.sub_octet(IAC);
            }
            (State::SubCommand, SE) => {
                self.state = State::Data;
                return self.subnegotiation();
            }
            // The subnegotiation was broken off (RFC 855): what follows is a command.
            (State::SubCommand, octet) => {
                self.state = State::Command;
                return self.receive(octet);
            }
        }
        None
    }

    fn sub_octet(&mut self, octet: u8) {
        // What is too long is no window size; it is taken in without being kept.
        if self.sub.len() <= MAX_SUB {
            self.sub.push(octet);
        }
    }

    /// The keys that a telnet client sends as commands.
    fn command(&mut self, command: u8) -> Option<Input> {
        match command {
            IP | BRK => Some(Input::Octet(3)),
            EC => Some(Input::Octet(8)),
            EL => Some(Input::Octet(21)),
            AYT => {
                self.output.extend_from_slice(b"\r\n[yes]\r\n");
                None
            }
            _ => None,
        }
    }

    fn option(&mut self, verb: u8, option: u8) -> Option<Input> {
        let server = self.side == Side::Server;
        let positive = matches!(verb, WILL | DO);
        // What each end may do: the server echoes, the client tells its window.
        let (wanted, yes, no) = match verb {
            WILL | WONT => {
                (if server { matches!(option, NAWS | SGA) } else { matches!(option, ECHO | SGA) }, DO, DONT)
            }
            _ => {
                (if server { matches!(option, ECHO | SGA) } else { matches!(option, NAWS | SGA) }, WILL, WONT)
            }
        };
        let (state, asked) = match verb {
            WILL | WONT => (self.theirs.get(option), self.asked_theirs.get(option)),
            _ => (self.ours.get(option), self.asked_ours.get(option)),
        };
        let Some((state, asked)) = state.zip(asked).filter(|_| wanted) else {
            if positive {
                self.output.extend([IAC, no, option]);
            }
            return None;
        };
        let answers_us = std::mem::take(asked);
        if *state == positive {
            return None;
        }
        *state = positive;
        if !answers_us {
            self.output.extend([IAC, if positive { yes } else { no }, option]);
        }
        match (option, server) {
            (ECHO, _) => Some(Input::Echo(positive)),
            (NAWS, false) if positive => Some(Input::WindowWanted),
            _ => None,
        }
    }

    fn subnegotiation(&mut self) -> Option<Input> {
        let [NAWS, a, b, c, d] = *self.sub.as_slice() else { return None };
        (self.side == Side::Server)
            .then_some(Input::Window(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }
}

/// An octet of data as it is sent.
pub fn escaped(octet: u8) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(octet, if octet == IAC { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(telnet: &mut Telnet, octets: &[u8]) -> Vec<Input> {
        octets.iter().filter_map(|octet| telnet.receive(*octet)).collect()
    }

    /// Lets both ends talk until neither has anything more to say; returns what each saw.
    fn talk(server: &mut Telnet, client: &mut Telnet) -> (Vec<Input>, Vec<Input>) {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let out = server.take_output();
            at_client.extend(feed(client, &out));
            let out = client.take_output();
            at_server.extend(feed(server, &out));
        }
        assert!(server.take_output().is_empty() && client.take_output().is_empty(), "they came to an end");
        (at_server, at_client)
    }

    #[test]
    fn two_ends_agree_on_echo_and_window() {
        let (mut server, mut client) = (Telnet::new(Side::Server), Telnet::new(Side::Client));
        server.offer();
        let (at_server, at_client) = talk(&mut server, &mut client);
        assert_eq!(at_server, [Input::Echo(true)]);
        assert_eq!(at_client, [Input::Echo(true), Input::WindowWanted]);
        client.window(255, 50);
        assert_eq!(talk(&mut server, &mut client).0, [Input::Window(255, 50)]);
    }

    #[test]
    fn other_options_are_refused_and_refusals_not_answered() {
        let mut server = Telnet::new(Side::Server);
        assert!(feed(&mut server, &[IAC, WILL, 24, IAC, DO, 39, IAC, WONT, 24, IAC, DONT, 39]).is_empty());
        assert_eq!(server.take_output(), [IAC, DONT, 24, IAC, WONT, 39]);
        assert!(feed(&mut server, &[IAC, WILL, ECHO]).is_empty());
        assert_eq!(server.take_output(), [IAC, DONT, ECHO], "a client does not echo to us");
    }

    #[test]
    fn keys_come_as_commands_and_data_may_have_any_octet() {
        let mut server = Telnet::new(Side::Server);
        assert_eq!(
            feed(&mut server, &[IAC, IAC, IAC, IP, b'a']),
            [Input::Octet(IAC), Input::Octet(3), Input::Octet(b'a')]
        );
        assert!(feed(&mut server, &[IAC, SB, NAWS, 0, 80, 0, IAC, DO, SGA]).is_empty(), "broken off");
        assert_eq!(server.take_output(), [IAC, WILL, SGA]);
        assert!(feed(&mut server, &[&[IAC, SB, NAWS][..], &[0; 100], &[IAC, SE]].concat()).is_empty());
        assert_eq!(feed(&mut server, b"x"), [Input::Octet(b'x')]);
    }

    proptest! {
        #[test]
        fn garbage_gets_little_and_keeps_little(octets in prop::collection::vec(prop_oneof![Just(IAC), any::<u8>()], 0..2000)) {
            let mut server = Telnet::new(Side::Server);
            server.offer();
            feed(&mut server, &octets);
            prop_assert!(server.take_output().len() <= 9 + 5 * octets.len());
            prop_assert!(server.sub.len() <= MAX_SUB + 1);
        }
    }
}
