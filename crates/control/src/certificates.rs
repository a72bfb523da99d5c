//! The certificates of the control channel: what the configuration names, what the server makes by itself, and what is wrong with
//! them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::{Client, Config, Mode, OwnCertificate, Server, write_atomic};
use pki::{Facts, Keys, PemError, Subject, date, fingerprint_text};
use serde_json::{Value, json};
use session::Now;

use crate::connections::SetupError;
use crate::consoles::ConsoleTls;
use crate::tls::{self, Authority, ClientTls, Material, ServerTls, Trust, certificate_json};

/// Warnings come so often.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// How long the certificate is valid that a server makes by itself: its clients know it by its fingerprint, and renewing it would
/// mean telling each of them.
const MADE_DAYS: u32 = 10 * 365;

/// A peer's certificate that ends within so many days is warned of.
const SOON_DAYS: i64 = 30;

/// Reads what the control channel needs of files, for `causeway check` and for starting. Returns the warnings.
///
/// # Errors
/// A file is missing, damaged, or does not fit.
pub fn check_files(config: &Config) -> Result<Vec<String>, PemError> {
    let now = unix_now();
    if let Some((certificate, key)) = &config.console.tls {
        ConsoleTls::from_files(certificate, key)?;
    }
    match &config.mode {
        Mode::Server(Server { certificate, .. }) if certificate.made && !certificate.certificate.exists() => {
            Ok(vec![format!(
                "no certificate is configured: the server makes one when it starts, in {}",
                certificate.certificate.display()
            )])
        }
        Mode::Server(server) => read_server(server).map(|tls| tls.material().warnings(now)),
        Mode::Client(client) => client_tls(client).map(|tls| tls.material().warnings(now)),
    }
}

/// Seconds since 1970.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A server's certificate and settings; makes the certificate if none is configured and none was made.
pub(crate) fn server_tls(server: &Server) -> Result<ServerTls, SetupError> {
    if server.certificate.made {
        make_certificate(&server.certificate).map_err(SetupError::Make)?;
    }
    Ok(read_server(server)?)
}

fn read_server(server: &Server) -> Result<ServerTls, PemError> {
    let clients = server.clients.as_ref().map(authority);
    ServerTls::from_files(&server.certificate.certificate, &server.certificate.key, clients.as_ref())
}

/// A client's settings.
pub(crate) fn client_tls(client: &Client) -> Result<ClientTls, PemError> {
    let trust = match &client.trust {
        config::Trust::Fingerprints(fingerprints) => Trust::Fingerprints(fingerprints.clone()),
        config::Trust::Ca(ca) => Trust::Authority(authority(ca)),
    };
    let own = client.certificate.as_ref();
    ClientTls::new(&trust, own.map(|own| (own.certificate.as_path(), own.key.as_path())))
}

fn authority(config: &config::Authority) -> Authority {
    Authority { ca: config.ca.clone(), crl: config.crl.clone() }
}

/// Makes the certificate that a server has when none is configured, unless it is there already. Returns its fingerprint.
///
/// # Errors
/// The system refuses a file, or a key is there that cannot be read: it is never overwritten.
pub fn make_certificate(own: &OwnCertificate) -> Result<tls::Fingerprint, String> {
    if !own.certificate.exists() {
        make(own)?;
        tracing::info!("no certificate is configured: made one in {}", own.certificate.display());
    }
    let chain = pki::read_certificates(&own.certificate).map_err(|error| error.to_string())?;
    let fingerprint = pki::fingerprint(&chain[0]);
    tracing::info!("the certificate's fingerprint is {}", fingerprint_text(&fingerprint));
    Ok(fingerprint)
}

fn make(own: &OwnCertificate) -> Result<(), String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("cannot write {path}: {error}")
    };
    if let Some(directory) = own.certificate.parent() {
        private_directory(directory).map_err(told(directory))?;
    }
    // A key without a certificate is left by a start that was cut short.
    let key = match own.key.exists() {
        true => {
            let text = pki::read_key_text(&own.key).map_err(|error| error.to_string())?;
            pki::key_from_pem(&text).map_err(|error| format!("{}: {error}", own.key.display()))?
        }
        false => pki::generate(Keys::P256).map_err(|error| error.to_string())?,
    };
    let subject = Subject { common_name: host_name(), ..Subject::default() };
    let certificate =
        pki::self_signed(&subject, &key, MADE_DAYS, unix_now()).map_err(|error| error.to_string())?;
    let text = zeroize::Zeroizing::new(key.serialize_pem());
    write_atomic(&own.key, text.as_bytes(), 0o600).map_err(told(&own.key))?;
    write_atomic(&own.certificate, certificate.as_bytes(), 0o644).map_err(told(&own.certificate))
}

/// Makes a directory that only its owner may enter, unless it is there.
///
/// # Errors
/// The system refuses.
pub fn private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// The machine's name, or ours if it has none that a certificate can have.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let usable = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if usable { name.into() } else { "causeway".into() }
}

/// Looks after what is in force.
#[derive(Default)]
pub(crate) struct Watch {
    due: Now,
    /// Client: what the server showed last.
    pub(crate) shown: Option<Box<Facts>>,
}

impl Watch {
    /// Whether warnings are due, which they are then not for a day.
    pub(crate) fn is_due(&mut self, now: Now) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + WARN_INTERVAL;
        }
        due
    }

    /// The files were read anew.
    pub(crate) fn read_anew(&mut self) {
        self.due = Now::ZERO;
    }

    pub(crate) fn warnings(&self, material: &Material) -> Vec<String> {
        let now = unix_now();
        let mut warnings = material.warnings(now);
        let soon = self.shown.as_ref().filter(|facts| facts.days_left(now) < SOON_DAYS);
        warnings.extend(soon.map(|facts| {
            format!(
                "the server's certificate ends on {}: without a new one this client {}",
                date(facts.not_after),
                if material.pins() {
                    "goes on, since it knows it by its fingerprint"
                } else {
                    "will not connect any more"
                }
            )
        }));
        warnings
    }

    pub(crate) fn json(&self, material: &Material) -> Value {
        let now = unix_now();
        let mut value = material.json(now);
        value["shown_by_server"] = json!(self.shown.as_ref().map(|facts| certificate_json(facts, now)));
        value
    }
}
