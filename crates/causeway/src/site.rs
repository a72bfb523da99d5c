//! `causeway site`: the sites of a server's configuration.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use config::edit::Candidate;
use config::{Config, Encap, HostPort, MAX_SERVERS, Mode, Role, Segment, Server, write_atomic};
use control::random::OsRandom;
use nix::fcntl::{Flock, FlockArg};
use pki::token::{Token, TokenSegment};
use session::scram::Verifier;
use zeroize::Zeroizing;

use crate::{DEFAULT_CONFIG, Failure, passwd};

/// Random octets of a password that nobody has to type.
const PASSWORD_OCTETS: usize = 24;

/// A token proposes no more segments than this: it has to stay something that can be copied.
const MAX_SEGMENTS: usize = 32;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a site and print the join token for it, once. The running appliance takes it up at once.
    Add(Add),
    /// List the sites.
    List {
        /// The server's configuration.
        #[arg(short, long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Remove a site; its session ends.
    Remove(Named),
    /// Let a site connect again.
    Enable(Named),
    /// Let a site connect no more; its session ends.
    Disable(Named),
    /// Give a site a new password and print a new join token; its session ends.
    Password(Password),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The site's name.
    name: String,
    /// The server's configuration.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    named: Named,
    /// The segments that it may join, with commas between. Without it: all.
    #[arg(long, value_delimiter = ',')]
    segments: Vec<String>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args)]
pub(crate) struct Password {
    #[command(flatten)]
    named: Named,
    /// Ask for the password instead of making one; then no token is printed.
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Where clients reach the server.
#[derive(Args)]
struct Reach {
    /// How clients reach the server: HOST or HOST:PORT. Can be given several times; without it: the uplink's addresses.
    #[arg(long)]
    address: Vec<String>,
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add(add) => add.run(),
        Command::List { config } => list(config),
        Command::Remove(named) => {
            named.change(|candidate| candidate.delete(&["site", &named.name]), "removed")
        }
        Command::Enable(named) => named.switch("true", "enabled"),
        Command::Disable(named) => named.switch("false", "disabled"),
        Command::Password(password) => password.run(),
    }
}

impl Named {
    fn switch(&self, value: &str, done: &str) -> Result<(), Failure> {
        self.change(|candidate| candidate.set(&["site", &self.name, "enabled", value]), done)
    }

    /// Changes something of a site that is there.
    fn change(
        &self,
        edit: impl FnOnce(&mut Candidate) -> Result<(), config::edit::EditError>,
        done: &str,
    ) -> Result<(), Failure> {
        let mut file = ServerFile::open(&self.config)?;
        file.must_have(&self.name, true)?;
        edit(&mut file.candidate)?;
        file.write()?;
        println!("site {:?} is {done}", self.name);
        Ok(())
    }
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let name = self.named.name.as_str();
        let mut file = ServerFile::open(&self.named.config)?;
        file.must_have(name, false)?;
        let servers = self.reach.servers(&file)?;
        let password = new_password();
        let verifier = Verifier::new(&password, &mut OsRandom::new())?.to_string();
        let candidate = &mut file.candidate;
        candidate.set(&["site", name, "verifier", &verifier])?;
        if let Some(description) = &self.description {
            candidate.set(&["site", name, "description", description])?;
        }
        if !self.segments.is_empty() {
            let mut words = vec!["site", name, "segments"];
            words.extend(self.segments.iter().map(String::as_str));
            candidate.set(&words)?;
        }
        let token = file.token(name, password, servers)?;
        file.write()?;
        println!("site {name:?} is added");
        print_token(&token);
        Ok(())
    }
}

impl Password {
    fn run(&self) -> Result<(), Failure> {
        let name = self.named.name.as_str();
        // Nobody waits for what is typed: it is asked for before the file is opened, and for a site that there is.
        let typed = if self.ask {
            ServerFile::look(&self.named.config)?.must_have(name, true)?;
            Some(passwd::read()?)
        } else {
            None
        };
        let mut file = ServerFile::open(&self.named.config)?;
        file.must_have(name, true)?;
        let servers = if self.ask { Vec::new() } else { self.reach.servers(&file)? };
        let password = typed.unwrap_or_else(new_password);
        let verifier = Verifier::new(&password, &mut OsRandom::new())?.to_string();
        file.candidate.set(&["site", name, "verifier", &verifier])?;
        let token = (!self.ask).then(|| file.token(name, password, servers)).transpose()?;
        file.write()?;
        println!("site {name:?} has a new password");
        token.iter().for_each(print_token);
        Ok(())
    }
}

fn print_token(token: &Token) {
    println!("\nOn the site's machine:\n\n  causeway join {token}\n");
    println!(
        "The token holds the site's password and is not shown again; `causeway site password` makes a new one."
    );
}

fn new_password() -> Zeroizing<String> {
    let mut octets = Zeroizing::new([0; PASSWORD_OCTETS]);
    OsRandom::new().fill(&mut *octets);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*octets))
}

fn list(path: &Path) -> Result<(), Failure> {
    let file = ServerFile::look(path)?;
    println!("{:<24} {:<9} {:<32} description", "site", "enabled", "segments");
    for site in &file.server.sites {
        let segments: Vec<&str> =
            site.segments.iter().map(|at| file.config.segments[*at].name.as_str()).collect();
        let enabled = if site.enabled { "yes" } else { "no" };
        println!("{:<24} {enabled:<9} {:<32} {}", site.user, segments.join(","), site.description);
    }
    Ok(())
}

/// The configuration of a server, good as it is.
struct ServerFile<'a> {
    path: &'a Path,
    config: Config,
    server: Server,
    candidate: Candidate,
    /// Held while it is changed. That of the directory: the file is another one after each change.
    _lock: Option<Flock<File>>,
}

impl<'a> ServerFile<'a> {
    /// Reads it to change it, one command after the other.
    fn open(path: &'a Path) -> Result<Self, Failure> {
        let place = fs::canonicalize(path).map_err(|error| unread(path, &error))?;
        let directory = File::open(place.parent().unwrap_or(&place)).map_err(|error| unread(path, &error))?;
        let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| {
            Failure(format!("cannot lock the directory of {}: {error}", path.display()))
        })?;
        Ok(Self { _lock: Some(lock), ..Self::look(path)? })
    }

    /// Reads it.
    fn look(path: &'a Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| unread(path, &error))?;
        let config = Config::parse(path, &text)?;
        let Mode::Server(server) = config.mode.clone() else {
            return Err(Failure(format!(
                "{} is the configuration of a client: sites are a server's",
                path.display()
            )));
        };
        Ok(Self { path, config, server, candidate: Candidate::new(path, &text)?, _lock: None })
    }

    fn must_have(&self, name: &str, there: bool) -> Result<(), Failure> {
        match (self.server.sites.iter().any(|site| site.user == name), there) {
            (true, false) => Err(Failure(format!(
                "there is a site {name:?} already: `causeway site password` makes a new token for it"
            ))),
            (false, true) => {
                Err(Failure(format!("there is no site {name:?}: `causeway site list` shows them")))
            }
            _ => Ok(()),
        }
    }

    /// What the client of the changed configuration needs. Makes the server's certificate if it is to make one by itself.
    fn token(
        &self,
        site: &str,
        password: Zeroizing<String>,
        servers: Vec<(String, u16)>,
    ) -> Result<Token, Failure> {
        let changed = self.candidate.check()?;
        let own = &self.server.certificate;
        let fingerprint = match own.made {
            true => control::certificates::make_certificate(own).map_err(Failure)?,
            false => {
                let facts = pki::Facts::of(&pki::read_certificates(&own.certificate)?[0]).map_err(Failure)?;
                println!(
                    "note: the token holds the fingerprint of the present certificate, which ends on {}; before it is renewed \
                     clients have to learn the next one (docs/tasks/renew-a-certificate.md)",
                    pki::date(facts.not_after)
                );
                facts.fingerprint
            }
        };
        let Mode::Server(server) = &changed.mode else { return Err(Failure("this is no server".into())) };
        let joined =
            server.sites.iter().find(|known| known.user == site).map(|known| known.segments.as_slice());
        let segments = joined.unwrap_or_default().iter().map(|at| token_segment(&changed.segments[*at]));
        let segments: Vec<TokenSegment> = segments.collect();
        Ok(Token {
            servers,
            fingerprints: vec![fingerprint],
            site: site.into(),
            password,
            segments: if segments.len() > MAX_SEGMENTS { Vec::new() } else { segments },
        })
    }

    /// Checks and writes the changed configuration, and tells the running appliance.
    fn write(&self) -> Result<(), Failure> {
        self.candidate.check()?;
        // Editors and the console's commit know nothing of the lock.
        let now = fs::read_to_string(self.path).map_err(|error| unread(self.path, &error))?;
        if now != self.candidate.base() {
            return Err(Failure(format!(
                "{} was changed by somebody else meanwhile and is left as it is: try again",
                self.path.display()
            )));
        }
        write_atomic(self.path, self.candidate.text().as_bytes(), 0o600)
            .map_err(|error| Failure(format!("cannot write {}: {error}", self.path.display())))?;
        match control::ask(&self.config.system.socket, "reload") {
            Ok(answer) => match answer["error"].as_str() {
                Some(error) => println!(
                    "{} is written, but the running appliance did not take it: {error}",
                    self.path.display()
                ),
                None => println!("the running appliance has taken it up"),
            },
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                println!("{} is written; no appliance runs with it", self.path.display());
            }
            Err(error) => {
                println!(
                    "{} is written, but the running appliance cannot be told: {error}",
                    self.path.display()
                );
            }
        }
        Ok(())
    }
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("cannot read {}: {error} (see -c)", path.display()))
}

fn token_segment(segment: &Segment) -> TokenSegment {
    let vlan = segment.attachments.iter().find_map(|attachment| match attachment.encap {
        Encap::Vlan(vlan) => Some(vlan.get()),
        _ => None,
    });
    TokenSegment { name: segment.name.clone(), tunnel_id: segment.tunnel_id.get(), mtu: segment.mtu, vlan }
}

impl Reach {
    /// Host and port, as given or as found.
    fn servers(&self, file: &ServerFile<'_>) -> Result<Vec<(String, u16)>, Failure> {
        let listen = file.server.listen;
        if self.address.len() > MAX_SERVERS {
            return Err(Failure(format!(
                "--address is given {} times: a client tries {MAX_SERVERS} at most",
                self.address.len()
            )));
        }
        let mut servers: Vec<(String, u16)> = Vec::new();
        for address in &self.address {
            servers.push(split(address, listen.port())?);
        }
        distinct(&mut servers);
        if servers.is_empty() && !listen.ip().is_unspecified() {
            servers.push((listen.ip().to_string(), listen.port()));
        }
        if servers.is_empty() {
            let uplinks = file.config.ports.iter().filter(|port| port.role == Role::Uplink);
            for interface in uplinks.filter_map(|port| port.interface.as_ref()) {
                servers.extend(addresses(interface).into_iter().map(|address| (address, listen.port())));
            }
            distinct(&mut servers);
            // No client takes more: those of the first uplinks, IPv4 first, have to do.
            servers.truncate(MAX_SERVERS);
        }
        if servers.is_empty() {
            return Err(Failure(
                "the uplink has no address: say --address HOST:PORT, as clients reach this server".into(),
            ));
        }
        Ok(servers)
    }
}

/// Leaves each address once, as a client wants them.
fn distinct(servers: &mut Vec<(String, u16)>) {
    let mut seen = HashSet::new();
    servers.retain(|server| seen.insert(server.clone()));
}

/// `HOST`, `HOST:PORT`, `[v6]:PORT` or a bare IPv6 address.
fn split(text: &str, default: u16) -> Result<(String, u16), Failure> {
    let wrong = || Failure(format!("--address {text:?} is neither HOST nor HOST:PORT"));
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.into(), default));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (text, default),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // As a client reads it.
    let address = HostPort { host: host.into(), port };
    match address.to_string().parse::<HostPort>() {
        Ok(HostPort { host, port }) => Ok((host, port)),
        Err(_) => Err(wrong()),
    }
}

/// The addresses of an interface that others can reach, IPv4 first.
fn addresses(interface: &str) -> Vec<String> {
    let mut found: Vec<std::net::IpAddr> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
        })
        .filter(|ip: &std::net::IpAddr| match ip {
            std::net::IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
            std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
        })
        .collect();
    found.sort_by_key(|ip| ip.is_ipv6());
    found.dedup();
    found.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = r#"
mode = "server"
[[port]]
name = "trunk0"
role = "trunk"
device = "kernel:lan0"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:wan0"
[[segment]]
name = "servers"
tunnel_id = 10
[[segment.attachment]]
port = "trunk0"
vlan = 10
[server]
[system]
socket = "none.sock"
"#;

    /// A server's configuration in a directory of its own.
    fn server_file(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("causeway-site-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("server.toml");
        fs::write(&path, SERVER).expect("written");
        path
    }

    fn add(file: &mut ServerFile<'_>, name: &str) {
        let verifier = Verifier::new("secret", &mut OsRandom::new()).expect("random").to_string();
        file.candidate.set(&["site", name, "verifier", &verifier]).expect("a site");
    }

    #[test]
    fn sites_that_are_added_at_once_are_all_there() {
        let path = server_file("at-once");
        let names: Vec<String> = (0..8).map(|at| format!("site{at}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| {
                    let mut file = ServerFile::open(&path).expect("good");
                    file.must_have(name, false).expect("it is new");
                    add(&mut file, name);
                    file.write().expect("written");
                });
            }
        });
        let file = ServerFile::look(&path).expect("good");
        for name in &names {
            file.must_have(name, true).expect("it is there");
        }
        fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
    }

    #[test]
    fn what_others_changed_meanwhile_is_not_lost() {
        let path = server_file("meanwhile");
        let mut file = ServerFile::open(&path).expect("good");
        add(&mut file, "branch");
        let committed = format!("{SERVER}# by the console\n");
        fs::write(&path, &committed).expect("written");
        let Failure(told) = file.write().expect_err("it is another one");
        assert!(told.contains("was changed by somebody else"), "{told}");
        assert_eq!(fs::read_to_string(&path).expect("there"), committed);
        fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
    }

    #[test]
    fn a_token_has_no_more_addresses_than_a_client_takes() {
        let path = server_file("addresses");
        let file = ServerFile::look(&path).expect("good");
        let reach = |count: usize| {
            let address = (0..count).map(|at| format!("{at}.example.com")).collect();
            Reach { address }.servers(&file).map(|servers| servers.len()).map_err(|Failure(told)| told)
        };
        assert_eq!(reach(MAX_SERVERS), Ok(MAX_SERVERS));
        assert!(reach(MAX_SERVERS + 1).expect_err("too many").contains("8 at most"));
        let twice = Reach { address: ["a.example.com", "a.example.com:443"].map(String::from).to_vec() };
        let servers = twice.servers(&file).map_err(|Failure(told)| told);
        assert_eq!(servers, Ok(vec![("a.example.com".into(), 443)]));
        fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
    }

    #[test]
    fn addresses_are_taken_apart() {
        let good = |text: &str| split(text, 443).map_err(|Failure(reason)| reason);
        assert_eq!(good("vpn.example.com"), Ok(("vpn.example.com".into(), 443)));
        assert_eq!(good("vpn.example.com:8443"), Ok(("vpn.example.com".into(), 8443)));
        assert_eq!(good("fd00::1"), Ok(("fd00::1".into(), 443)));
        assert_eq!(good("[fd00::1]:8443"), Ok(("fd00::1".into(), 8443)));
        for bad in ["", ":443", "a:b", "a:0", "a b", "w\u{fc}rz.example.com"] {
            assert!(good(bad).is_err(), "{bad:?}");
        }
    }
}
