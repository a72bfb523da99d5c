//! `causeway join`: a client's configuration from a join token.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use config::{Config, PreparedFile, write_atomic};
use pki::fingerprint_text;
use pki::token::{Token, TokenSegment};
use zeroize::Zeroizing;

use crate::{DEFAULT_CONFIG, Failure};

/// The MTUs that a port can have.
const PORT_MTU: std::ops::RangeInclusive<u16> = 1280..=9600;

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
    /// The interface towards the WAN. Without it: the one that the default route goes through.
    #[arg(long)]
    uplink: Option<String>,
    /// Where a segment meets the trunk: NAME=VLAN or NAME=untagged. Without it: the VLAN that it has at the server.
    #[arg(long = "segment", value_name = "NAME=VLAN")]
    segments: Vec<String>,
    /// The core that moves packets.
    #[arg(long, default_value_t = 0)]
    worker: usize,
    /// The socket of the appliance.
    #[arg(long, default_value = crate::SOCKET)]
    socket: PathBuf,
    /// Overwrite a configuration that is there.
    #[arg(long)]
    force: bool,
}

impl Join {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let token: Token = match &self.token {
            Some(text) => text.parse()?,
            None => std::io::read_to_string(std::io::stdin())?.parse()?,
        };
        if self.config.exists() && !self.force {
            return Err(Failure(format!(
                "{} is there already: choose another file with -c, or overwrite it with --force",
                self.config.display()
            )));
        }
        let uplink = match &self.uplink {
            Some(uplink) => uplink.clone(),
            None => default_route()
                .ok_or_else(|| Failure("there is no default route: say --uplink INTERFACE".into()))?,
        };
        let trunk = match &self.trunk {
            Some(trunk) => trunk.clone(),
            None => only_other(&uplink)?,
        };
        let secret = self.config.with_file_name(format!("{}.password", file_name(&token.site)));
        if let Some(directory) = self.config.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .map_err(|error| Failure(format!("cannot make {}: {error}", directory.display())))?;
        }
        let text = |secret: &Path| self.text(&token, &trunk, &uplink, secret);
        let password = format!("{}\n", *token.password);
        // What an appliance may be running with stays until all is known to be good.
        let trial = Trial(self.config.with_file_name(format!(
            ".{}.{}.password",
            file_name(&token.site),
            std::process::id()
        )));
        write(&trial.0, &password)?;
        Config::parse(&self.config, &text(&trial.0)?)
            .map_err(|errors| Failure(format!("these choices give no good configuration:\n{errors}")))?;
        replace(&secret, &password, &self.config, &text(&secret)?)?;
        println!("wrote {} and {}", self.config.display(), secret.display());
        for segment in &token.segments {
            println!(
                "segment {:?} (tunnel ID {}) is {} on {trunk}",
                segment.name,
                segment.tunnel_id,
                self.place(segment)?
            );
            if segment.mtu > mtu(&trunk) {
                println!(
                    "  its MTU is {} at the server, which does not fit {trunk} with {}: raise that, and set mtu of port and segment",
                    segment.mtu,
                    mtu(&trunk)
                );
            }
        }
        if token.segments.is_empty() {
            println!("the token names no segments: add them to the file");
        }
        println!("start it with: causeway run -c {}", self.config.display());
        Ok(())
    }

    fn text(&self, token: &Token, trunk: &str, uplink: &str, secret: &Path) -> Result<String, Failure> {
        let q = config::edit::quoted;
        let servers: Vec<String> =
            token.servers.iter().map(|(host, port)| q(&host_port(host, *port))).collect();
        let fingerprints: Vec<String> =
            token.fingerprints.iter().map(|print| q(&fingerprint_text(print))).collect();
        let mut out = format!(
            "# Written by `causeway join`.\n\nmode = \"client\"\n\n[system]\nworkers = [{}]\nsocket = {}\n",
            self.worker,
            q(&self.socket.display().to_string())
        );
        for (name, role, device) in [("trunk0", "trunk", trunk), ("wan", "uplink", uplink)] {
            let _ = write!(
                out,
                "\n[[port]]\nname = \"{name}\"\nrole = \"{role}\"\ndevice = {}\nmtu = {}\n",
                q(&device_text(device)),
                mtu(device)
            );
        }
        for segment in &token.segments {
            let _ = write!(
                out,
                "\n[[segment]]\nname = {}\ntunnel_id = {}\n{}[[segment.attachment]]\nport = \"trunk0\"\n{}\n",
                q(&segment.name),
                segment.tunnel_id,
                segment_mtu(segment.mtu, mtu(trunk)),
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

    /// How a segment meets the trunk: `VLAN 10` or `untagged`.
    fn place(&self, segment: &TokenSegment) -> Result<String, Failure> {
        for given in &self.segments {
            let Some((name, place)) = given.rsplit_once('=') else {
                return Err(Failure(format!("--segment {given:?} is not NAME=VLAN")));
            };
            if name != segment.name {
                continue;
            }
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

/// Writes a secret. A mode that a file of the same name had is not what protects this one.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unwritten(path)(error)),
        _ => {}
    }
    write_atomic(path, text.as_bytes(), 0o600).map_err(unwritten(path))
}

/// Puts password and configuration in the place of those that were there: both, or on an error none.
fn replace(secret: &Path, password: &str, config: &Path, text: &str) -> Result<(), Failure> {
    let before = match fs::read_to_string(secret) {
        Ok(before) => Some(Zeroizing::new(before)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Failure(format!("cannot replace {}: {error}", secret.display()))),
    };
    let prepared = PreparedFile::new(config, text.as_bytes(), 0o600).map_err(unwritten(config))?;
    let written = write(secret, password).and_then(|()| prepared.rename().map_err(unwritten(config)));
    written.inspect_err(|_| {
        // The password is of no use without the configuration.
        let _ = match &before {
            Some(before) => write(secret, before).is_ok(),
            None => fs::remove_file(secret).is_ok(),
        };
    })?;
    prepared.sync().map_err(unwritten(config))
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

/// An interface is a kernel port; everything else is a device as it stands.
fn device_text(device: &str) -> String {
    let is_device = device.contains(':') || device.starts_with("net_") || device.starts_with("eth_");
    if is_device { device.into() } else { format!("kernel:{device}") }
}

fn mtu(device: &str) -> u16 {
    let interface = device.strip_prefix("kernel:").unwrap_or(device);
    let read = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    let mtu = read.ok().and_then(|text| text.trim().parse::<u16>().ok()).unwrap_or(1500);
    mtu.clamp(*PORT_MTU.start(), *PORT_MTU.end())
}

/// The interface of the default route (proc_pid_net(5): destination and mask are zero).
fn default_route() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| (*fields[0]).to_owned())
    })
}

/// The one interface beside the uplink and the loopback.
fn only_other(uplink: &str) -> Result<String, Failure> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "lo" && name != uplink.strip_prefix("kernel:").unwrap_or(uplink))
        .collect();
    names.sort();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure("there is no interface beside the uplink: say --trunk INTERFACE".into())),
        several => Err(Failure(format!("say --trunk INTERFACE: there are {}", several.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(device_text("eth1"), "kernel:eth1");
        assert_eq!(device_text("0000:03:00.0"), "0000:03:00.0");
        assert_eq!(device_text("net_memif0,id=1"), "net_memif0,id=1");
    }
}
