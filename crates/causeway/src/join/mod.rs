//! `causeway join`: a client's configuration from a join token.

mod hardware;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use config::{Config, PreparedFile, write_atomic};
use machine::{Root, service};
use pki::fingerprint_text;
use pki::token::{Token, TokenSegment};
use zeroize::Zeroizing;

use crate::{DEFAULT_CONFIG, Failure};
use hardware::{Hardware, told};

/// A segment's MTU where the file says none and its ports carry it.
const DEFAULT_MTU: u16 = 1500;

#[derive(Args)]
pub(crate) struct Join {
    /// The token that `causeway site add` printed on the server. Without it: read from standard input.
    token: Option<String>,
    /// The configuration to write.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The interface towards the local network, or a device as in [[port]] device.
    #[arg(long)]
    trunk: Option<String>,
    /// The interface towards the WAN, or a device as in [[port]] device. Without it: the one that the default route goes through.
    #[arg(long)]
    uplink: Option<String>,
    /// The Linux interface of an uplink that is a device: it has the address.
    #[arg(long)]
    interface: Option<String>,
    /// Where a segment meets the trunk: NAME=VLAN or NAME=untagged. Without it: the VLAN that it has at the server.
    #[arg(long = "segment", value_name = "NAME=VLAN")]
    segments: Vec<String>,
    /// The core that moves packets. Without it: core 0.
    #[arg(long)]
    worker: Option<usize>,
    /// The socket of the appliance.
    #[arg(long, default_value = crate::SOCKET)]
    socket: PathBuf,
    /// Overwrite a configuration that is there. Its [system] stays, and so do its ports where --trunk and --uplink name no others.
    #[arg(long)]
    force: bool,
}

impl Join {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let token: Token = match &self.token {
            Some(text) => text.parse()?,
            None => std::io::read_to_string(std::io::stdin())?.parse()?,
        };
        self.places_are_of(&token)?;
        let secret = self.config.with_file_name(format!("{}.password", file_name(&token.site)));
        let old = self.must_be_free(&secret)?;
        let hardware = Hardware::of(self, old.as_deref())?;
        if let Some(directory) = self.config.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .map_err(|error| Failure(format!("cannot make {}: {error}", directory.display())))?;
        }
        let text = |secret: &Path| self.text(&token, &hardware, secret);
        let password = Zeroizing::new(format!("{}\n", *token.password));
        // What an appliance may be running with stays until all is known to be good.
        let trial = Trial(self.config.with_file_name(format!(
            ".{}.{}.password",
            file_name(&token.site),
            std::process::id()
        )));
        write_atomic(&trial.0, password.as_bytes(), 0o600).map_err(unwritten(&trial.0))?;
        Config::parse(&self.config, &text(&trial.0)?)
            .map_err(|errors| Failure(format!("these choices give no good configuration:\n{errors}")))?;
        replace(&secret, &password, &self.config, &text(&secret)?)?;
        println!("wrote {} and {}", self.config.display(), secret.display());
        let (trunk, mtu) = (told(&hardware.trunk.device), hardware.trunk.mtu);
        for segment in &token.segments {
            println!(
                "segment {:?} (tunnel ID {}) is {} on {trunk}",
                segment.name,
                segment.tunnel_id,
                self.place(segment)?
            );
            if segment.mtu > mtu {
                println!(
                    "  its MTU is {} at the server, which does not fit {trunk} with {mtu}: raise that, and set mtu of port and segment",
                    segment.mtu,
                );
            }
        }
        if token.segments.is_empty() {
            println!("the token names no segments: add them to the file");
        }
        for remark in &hardware.remarks {
            println!("{remark}");
        }
        println!("start it with: {}", self.how_to_start(&Root::new("/")));
        Ok(())
    }

    /// Refuses to overwrite what is there, unless that is wanted. Then the configuration that is to be replaced comes back.
    fn must_be_free(&self, secret: &Path) -> Result<Option<String>, Failure> {
        if self.force {
            // What cannot be read cannot be kept either.
            return Ok(fs::read_to_string(&self.config).ok());
        }
        if self.config.exists() {
            return Err(Failure(format!(
                "{} is there already: choose another file with -c, or overwrite it with --force, which keeps its [system] and [[port]]",
                self.config.display()
            )));
        }
        if secret.exists() {
            return Err(Failure(format!(
                "{} is there already, and may be the password of another configuration: choose another directory with -c, or \
                 overwrite it with --force",
                secret.display()
            )));
        }
        Ok(None)
    }

    /// How the appliance is started that runs with this configuration.
    fn how_to_start(&self, root: &Root) -> String {
        let [own, services] = [&self.config, &root.path(DEFAULT_CONFIG)].map(|path| path.canonicalize().ok());
        match own.is_some() && own == services && root.has(service::UNIT) {
            true => "systemctl enable --now causeway (if it runs already: systemctl restart causeway)".into(),
            false => format!("causeway run -c {}", self.config.display()),
        }
    }

    fn text(&self, token: &Token, hardware: &Hardware, secret: &Path) -> Result<String, Failure> {
        let q = config::edit::quoted;
        let servers: Vec<String> =
            token.servers.iter().map(|(host, port)| q(&host_port(host, *port))).collect();
        let fingerprints: Vec<String> =
            token.fingerprints.iter().map(|print| q(&fingerprint_text(print))).collect();
        let mut out = format!("# Written by `causeway join`.\n\nmode = \"client\"\n\n{}", hardware.text);
        for segment in &token.segments {
            let _ = write!(
                out,
                "\n[[segment]]\nname = {}\ntunnel_id = {}\n{}[[segment.attachment]]\nport = {}\n{}\n",
                q(&segment.name),
                segment.tunnel_id,
                segment_mtu(segment.mtu, hardware.trunk.mtu),
                q(&hardware.trunk.name),
                match self.place(segment)?.strip_prefix("VLAN ") {
                    Some(vlan) => format!("vlan = {vlan}"),
                    None => "untagged = true".into(),
                }
            );
        }
        let secret = secret.file_name().unwrap_or_default().to_string_lossy();
        let _ = write!(
            out,
            "\n[client]\nservers = [{}]\nuser = {}\npassword_file = {}\nfingerprint = [{}]\n",
            servers.join(", "),
            q(&token.site),
            q(&secret),
            fingerprints.join(", ")
        );
        Ok(out)
    }

    /// Each `--segment` has to be about a segment of the token: of a name that is mistyped nobody would notice.
    fn places_are_of(&self, token: &Token) -> Result<(), Failure> {
        let known: Vec<&str> = token.segments.iter().map(|segment| segment.name.as_str()).collect();
        for given in &self.segments {
            let Some((name, _)) = given.rsplit_once('=') else {
                return Err(Failure(format!("--segment {given:?} is not NAME=VLAN")));
            };
            if !known.is_empty() && !known.contains(&name) {
                return Err(Failure(format!(
                    "--segment {given:?}: the token names no segment {name:?}, but {}",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// How a segment meets the trunk: `VLAN 10` or `untagged`.
    fn place(&self, segment: &TokenSegment) -> Result<String, Failure> {
        for given in &self.segments {
            let Some((_, place)) = given.rsplit_once('=').filter(|(name, _)| *name == segment.name) else {
                continue;
            };
            return match place.parse::<u16>() {
                Ok(vlan) if (1..=4094).contains(&vlan) => Ok(format!("VLAN {vlan}")),
                _ if place == "untagged" => Ok(place.into()),
                _ => Err(Failure(format!("--segment {given:?}: a VLAN is 1 to 4094, or untagged"))),
            };
        }
        Ok(format!("VLAN {}", segment.vlan.unwrap_or(segment.tunnel_id)))
    }
}

/// A password on trial, which goes away again.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn unwritten(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure(format!("cannot write {path}: {error}"))
}

/// Puts password and configuration in the place of those that were there: both, or on an error none.
fn replace(secret: &Path, password: &str, config: &Path, text: &str) -> Result<(), Failure> {
    let prepared = [
        PreparedFile::secret(secret, password.as_bytes()).map_err(unwritten(secret))?,
        PreparedFile::new(config, text.as_bytes(), 0o600).map_err(unwritten(config))?,
    ];
    PreparedFile::rename_all(&prepared).map_err(|error| Failure(format!("cannot write {error}")))
}

/// A segment's MTU as it stands in the file: what the server has, unless that is the usual one or the trunk does not carry it.
fn segment_mtu(mtu: u16, trunk: u16) -> String {
    if mtu == DEFAULT_MTU.min(trunk) || mtu > trunk { String::new() } else { format!("mtu = {mtu}\n") }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A site's name as a file's.
fn file_name(site: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    site.chars().map(safe).take(60).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        join: Join,
    }

    fn join(words: &[&str]) -> Join {
        Cli::parse_from([&["join"], words].concat()).join
    }

    fn told<T>(done: Result<T, Failure>) -> String {
        done.map(|_| String::new()).unwrap_or_else(|Failure(told)| told)
    }

    #[test]
    fn a_segment_that_the_token_has_not_is_told() {
        let segment = |name: &str| TokenSegment { name: name.into(), tunnel_id: 10, mtu: 1500, vlan: None };
        let token = |segments: &[&str]| Token {
            servers: vec![("vpn.example.com".into(), 443)],
            fingerprints: vec![[7; 32]],
            site: "branch".into(),
            password: Zeroizing::new("secret".into()),
            segments: segments.iter().map(|name| segment(name)).collect(),
        };
        let given = |given: &str, segments: &[&str]| {
            told(join(&["--segment", given]).places_are_of(&token(segments)))
        };
        assert_eq!(given("voice=111", &["servers", "voice"]), "");
        assert_eq!(given("voice=111", &[]), "", "that it names none is told anyway");
        assert!(given("vioce=111", &["servers", "voice"]).ends_with("\"vioce\", but servers, voice"));
        assert!(given("voice", &["servers", "voice"]).contains("is not NAME=VLAN"));
    }

    #[test]
    fn neither_a_configuration_nor_anothers_password_is_overwritten_unasked() {
        let directory = std::env::temp_dir().join(format!("causeway-join-free-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (config, secret) = (directory.join("other.toml"), directory.join("branch.password"));
        let words = ["-c", config.to_str().expect("text")];
        let [careful, forced] = [join(&words), join(&[&words[..], &["--force"]].concat())];
        assert_eq!(told(careful.must_be_free(&secret)), "");
        fs::write(&secret, "of the first").expect("written");
        assert!(told(careful.must_be_free(&secret)).contains("the password of another configuration"));
        assert_eq!(told(forced.must_be_free(&secret)), "");
        fs::remove_file(&secret).expect("there");
        fs::write(&config, "mode = \"client\"").expect("written");
        assert!(told(careful.must_be_free(&secret)).contains("--force"));
        let Ok(Some(old)) = forced.must_be_free(&secret) else { panic!("it is to be replaced") };
        assert_eq!(old, "mode = \"client\"");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn the_service_is_started_as_one() {
        let place = std::env::temp_dir().join(format!("causeway-join-start-{}", std::process::id()));
        let root = Root::new(&place);
        let [usual, unit] = [root.path(DEFAULT_CONFIG), root.path(service::UNIT)];
        for file in [&usual, &place.join("other.toml")] {
            fs::create_dir_all(file.parent().expect("a directory")).expect("made");
            fs::write(file, "").expect("written");
        }
        let how = |config: &Path| join(&["-c", config.to_str().expect("text")]).how_to_start(&root);
        assert_eq!(how(&usual), format!("causeway run -c {}", usual.display()), "there is no package");
        fs::create_dir_all(unit.parent().expect("a directory")).expect("made");
        fs::write(&unit, "").expect("written");
        assert!(how(&usual).starts_with("systemctl enable --now causeway"));
        assert!(how(&place.join("other.toml")).starts_with("causeway run"));
        fs::remove_dir_all(&place).expect("removed");
    }

    #[test]
    fn an_mtu_is_the_servers_where_it_fits() {
        assert_eq!(segment_mtu(1500, 1500), "");
        assert_eq!(segment_mtu(1400, 1500), "mtu = 1400\n");
        assert_eq!(segment_mtu(9000, 9000), "mtu = 9000\n");
        assert_eq!(segment_mtu(1500, 9000), "");
        assert_eq!(segment_mtu(1500, 1400), "", "told, and left to the operator");
    }

    #[test]
    fn password_and_configuration_are_replaced_together_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("causeway-join-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (secret, config) = (directory.join("a.password"), directory.join("a.toml"));
        let read = |path: &Path| fs::read_to_string(path).expect("readable");
        replace(&secret, "one", &config, "first").expect("written");
        replace(&secret, "two", &config, "second").expect("written");
        assert_eq!((read(&secret), read(&config)), ("two".into(), "second".into()));
        // A directory is in the configuration's place.
        let taken = directory.join("taken.toml");
        fs::create_dir_all(taken.join("in the way")).expect("a directory");
        assert!(replace(&secret, "three", &taken, "third").is_err());
        assert_eq!(read(&secret), "two", "what an appliance may be running with");
        assert!(replace(&directory.join("b.password"), "three", &taken, "third").is_err());
        assert!(!directory.join("b.password").exists());
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(file_name("../../etc/pass wd"), "______etc_pass_wd");
    }
}
