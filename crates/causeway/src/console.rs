//! `causeway console`: a terminal for the appliance's console, or one command of it for scripts.

use std::io::{ErrorKind, IsTerminal, Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use console::telnet::{Input, Side, Telnet, escaped};
use control::consoles::client::Client;
use control::tls::{Authority, Fingerprint, Trust};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::SIGWINCH;

use crate::ask::nobody_reads;
use crate::{Failure, show};

#[derive(Args)]
pub(crate) struct Wanted {
    /// The appliance's socket.
    #[arg(long, default_value = crate::SOCKET)]
    socket: PathBuf,
    /// Connect to HOST:PORT instead, where [console] listen says.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "command")]
    connect: Option<String>,
    /// Expect TLS there. Needs --fingerprint or --ca.
    #[arg(long, requires = "connect", requires = "trust")]
    tls: bool,
    /// The SHA-256 of the console's certificate, as `causeway cert fingerprint` prints it.
    #[arg(long, group = "trust", requires = "tls")]
    fingerprint: Option<String>,
    /// The CA that signed the console's certificate.
    #[arg(long, group = "trust", requires = "tls")]
    ca: Option<PathBuf>,
    /// Do this command, and end: what stands behind | works too.
    #[arg(short, long)]
    command: Option<String>,
}

pub(crate) fn run(wanted: &Wanted) -> Result<(), Failure> {
    if let Some(command) = &wanted.command {
        return show::command(command, &wanted.socket);
    }
    let client = match &wanted.connect {
        None => Client::unix(&wanted.socket).map_err(|error| show::unreachable(&wanted.socket, &error))?,
        Some(target) => Client::tcp(target, trust(wanted)?.as_ref())
            .map_err(|error| Failure(format!("cannot connect to {target}: {error}")))?,
    };
    if stdin().is_terminal() && stdout().is_terminal() {
        crossterm::terminal::enable_raw_mode()?;
        let done = Terminal::new(client)?.talk();
        crossterm::terminal::disable_raw_mode()?;
        return done;
    }
    Terminal::new(client)?.talk()
}

fn trust(wanted: &Wanted) -> Result<Option<Trust>, Failure> {
    Ok(match (&wanted.fingerprint, &wanted.ca) {
        (Some(text), _) => {
            let parsed = parse_fingerprint(text);
            Some(Trust::Fingerprints(vec![parsed.ok_or_else(|| Failure(format!("{text:?} is no SHA-256")))?]))
        }
        (None, Some(path)) => Some(Trust::Authority(Authority { ca: path.clone(), crl: None })),
        (None, None) => None,
    })
}

/// Reads 64 hexadecimal digits, with or without colons.
fn parse_fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let octets: Option<Vec<u8>> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    octets?.try_into().ok().filter(|_| digits.len() == 64)
}

/// Standard input and output on one side, the console on the other.
struct Terminal {
    client: Client,
    telnet: Telnet,
    resized: Arc<AtomicBool>,
    /// What waits to be sent.
    out: Vec<u8>,
    input_ended: bool,
}

impl Terminal {
    fn new(client: Client) -> Result<Self, Failure> {
        let resized = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGWINCH, Arc::clone(&resized))?;
        let telnet = Telnet::new(Side::Client);
        Ok(Self { client, telnet, resized, out: Vec::new(), input_ended: false })
    }

    fn talk(mut self) -> Result<(), Failure> {
        let terminal = stdin().is_terminal();
        loop {
            if self.resized.swap(false, Ordering::Relaxed) {
                self.tell_window();
            }
            self.send()?;
            let (stdin_ready, client_ready) = self.wait()?;
            if client_ready && !self.receive(terminal)? {
                return Ok(());
            }
            if stdin_ready {
                let mut octets = [0; 4096];
                match stdin().lock().read(&mut octets)? {
                    0 => {
                        self.input_ended = true;
                        // ^D: the console ends when it has done what was typed.
                        self.out.extend(b"\n\x04");
                    }
                    n => self.out.extend(octets[..n].iter().copied().flat_map(escaped)),
                }
            }
        }
    }

    /// Waits for either side. Which of them is ready? Fails as writing would when nobody reads what is shown.
    fn wait(&self) -> Result<(bool, bool), Failure> {
        let (input, output) = (stdin(), stdout());
        let mut wanted = PollFlags::POLLIN;
        if !self.out.is_empty() {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds =
            vec![PollFd::new(self.client.as_fd(), wanted), PollFd::new(output.as_fd(), PollFlags::empty())];
        // What the console does not take is not asked for.
        if !self.input_ended && self.out.len() < 4096 {
            fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::from(1000_u16)) {
            // A changed window.
            Err(Errno::EINTR) => return Ok((false, false)),
            other => other?,
        };
        let ready = |at: usize, flags| {
            fds.get(at).and_then(PollFd::revents).is_some_and(|seen| seen.intersects(flags))
        };
        let ended = PollFlags::POLLHUP | PollFlags::POLLERR;
        if nobody_reads(&fds[1]) {
            return Err(std::io::Error::from(ErrorKind::BrokenPipe).into());
        }
        Ok((ready(2, PollFlags::POLLIN | ended), ready(0, PollFlags::POLLIN | ended)))
    }

    fn send(&mut self) -> Result<(), Failure> {
        while !self.out.is_empty() {
            match self.client.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What it said last is still to be read.
                Err(_) => self.out.clear(),
            }
        }
        match self.client.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => self.out.clear(),
            _ => {}
        }
        Ok(())
    }

    /// Shows what came. False: the console has ended.
    fn receive(&mut self, terminal: bool) -> Result<bool, Failure> {
        let mut octets = [0; 4096];
        let mut shown = Vec::new();
        let goes_on = loop {
            match self.client.read(&mut octets) {
                Ok(0) => break false,
                Ok(n) => {
                    for octet in &octets[..n] {
                        match self.telnet.receive(*octet) {
                            Some(Input::Octet(b'\r')) if !terminal => {}
                            Some(Input::Octet(octet)) => shown.push(octet),
                            Some(Input::WindowWanted) => self.tell_window(),
                            Some(Input::Echo(_) | Input::Window(..)) | None => {}
                        }
                    }
                    // Without a terminal there are whole lines, and no window.
                    let answers = self.telnet.take_output();
                    self.out.extend(answers.into_iter().filter(|_| terminal));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break false,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
                Err(error) => return Err(error.into()),
            }
        };
        let mut out = stdout().lock();
        out.write_all(&shown)?;
        out.flush()?;
        Ok(goes_on)
    }

    fn tell_window(&mut self) {
        if let Ok((columns, rows)) = crossterm::terminal::size() {
            self.telnet.window(columns, rows);
            let told = self.telnet.take_output();
            self.out.extend(told);
        }
    }
}
