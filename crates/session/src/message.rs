//! The messages of the control channel (protocol 2.2), in CBOR (RFC 8949).

mod batch;

use minicbor::decode::Error as Cbor;
use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder};
use record::LaneId;
use wire::tunnel::TunnelId;

pub use self::batch::{Batch, MAX_RECORD, Records};
use crate::MAX_LANES;
use crate::question::{Answer, Question};

/// Segments that a side attaches: tunnel ID and MTU.
pub type SegmentList = Vec<(TunnelId, u16)>;

/// The protocol version of this implementation.
pub const VERSION: u64 = 1;

/// The SASL mechanism of this implementation.
pub const MECHANISM: &str = "SCRAM-SHA-256-PLUS";

/// Codes of `refused`.
pub mod refusal {
    /// Wrong name or password.
    pub const AUTHENTICATION: u64 = 1;
    /// The site is disabled.
    pub const DISABLED: u64 = 2;
    /// No common version.
    pub const VERSION: u64 = 3;
    /// The site is connected from elsewhere.
    pub const ELSEWHERE: u64 = 4;
    /// Too busy.
    pub const BUSY: u64 = 5;
    /// Protocol error.
    pub const PROTOCOL: u64 = 6;
    /// No common cipher.
    pub const CIPHER: u64 = 7;
}

/// Codes of `bye`.
pub mod farewell {
    /// Shutting down.
    pub const SHUTDOWN: u64 = 1;
    /// Replaced by a newer connection of the same session.
    pub const REPLACED: u64 = 2;
    /// Ended by the operator: disabled, removed, changed, or to begin anew.
    pub const OPERATOR: u64 = 3;
    /// Protocol error.
    pub const PROTOCOL: u64 = 4;
    /// The peer is dead.
    pub const DEAD_PEER: u64 = 5;
    /// No renewal has succeeded in time.
    pub const EXPIRED: u64 = 6;
    /// The other end's certificate is not good any more.
    pub const CERTIFICATE: u64 = 7;
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: who it is and what it can.
    Login(Login),
    /// Server: SCRAM server-first-message.
    Challenge(Vec<u8>),
    /// Client: SCRAM client-final-message.
    Response(Vec<u8>),
    /// Server: authenticated.
    Welcome(Welcome),
    /// Client: its receive lanes.
    Open(Open),
    /// Server: its receive lanes.
    Opened(Vec<LaneId>),
    /// Server: no.
    Refused {
        /// Why, see [`refusal`].
        code: u64,
        /// Why, for people.
        text: String,
        /// When to come again.
        retry_ms: Option<u64>,
    },
    /// Either: the end.
    Bye {
        /// Why, see [`farewell`].
        code: u64,
        /// Why, for people.
        text: String,
    },
    /// Server: go there instead.
    Redirect(String),
    /// Either: the segments it attaches now.
    Segments(SegmentList),
    /// Either: records that do not go by UDP.
    Records(Records),
    /// Either: what the other knows.
    Question(Question),
    /// Either: this.
    Answer(Answer),
    /// Of a type that this version does not know: to be skipped.
    Unknown(u64),
}

/// Who a client is and what it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Highest and lowest protocol version.
    pub versions: (u64, u64),
    /// Chosen once by the client's process.
    pub instance: [u8; 16],
    /// SASL mechanism.
    pub mechanism: String,
    /// SCRAM client-first-message.
    pub first: Vec<u8>,
    /// Name and version of the software.
    pub software: String,
    /// Codes of data ciphers, best first.
    pub ciphers: Vec<u64>,
    /// How many parallel paths it wants.
    pub paths: usize,
    /// Whether records may go over this connection.
    pub tcp: bool,
}

/// What a server says to an authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// SCRAM server-final-message.
    pub last: Vec<u8>,
    /// Protocol version.
    pub version: u64,
    /// How many lanes it sends on.
    pub lanes: usize,
    /// Its UDP data port.
    pub data_port: u16,
    /// The segments it attaches.
    pub segments: SegmentList,
    /// Dead-peer time in ms.
    pub dead_peer_ms: u64,
    /// Code of the data cipher.
    pub cipher: u64,
    /// How many parallel paths there are.
    pub paths: usize,
    /// Whether records may go over this connection, by one path more.
    pub tcp: bool,
}

/// The client's receive lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// One for each of the server's lanes.
    pub lanes: Vec<LaneId>,
    /// How many lanes the client sends on.
    pub count: usize,
    /// The segments it attaches.
    pub segments: SegmentList,
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(String);

impl From<Cbor> for Malformed {
    fn from(error: Cbor) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn bad(what: &str) -> Malformed {
    Malformed(what.into())
}

impl Message {
    /// What messages of this type are called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Login(_) => "login",
            Self::Challenge(_) => "challenge",
            Self::Response(_) => "response",
            Self::Welcome(_) => "welcome",
            Self::Open(_) => "open",
            Self::Opened(_) => "opened",
            Self::Refused { .. } => "refused",
            Self::Bye { .. } => "bye",
            Self::Redirect(_) => "redirect",
            Self::Segments(_) => "segments",
            Self::Records(_) => "records",
            Self::Question(_) => "question",
            Self::Answer(_) => "answer",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The message in CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        // Writing to a vector does not fail.
        let _ = self.write(&mut e);
        e.into_writer()
    }

    fn write<W: Write>(&self, e: &mut Encoder<W>) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?;
        match self {
            Self::Login(login) => {
                e.u8(1)?.map(7 + u64::from(login.paths > 1) + u64::from(login.tcp))?;
                e.u8(1)?.u64(login.versions.0)?.u8(2)?.u64(login.versions.1)?;
                e.u8(3)?.bytes(&login.instance)?.u8(4)?.str(&login.mechanism)?;
                e.u8(5)?.bytes(&login.first)?.u8(6)?.str(&login.software)?;
                e.u8(7)?.array(login.ciphers.len() as u64)?;
                for cipher in &login.ciphers {
                    e.u64(*cipher)?;
                }
                if login.paths > 1 {
                    e.u8(8)?.u64(login.paths as u64)?;
                }
                if login.tcp {
                    e.u8(16)?.bool(true)?;
                }
            }
            Self::Challenge(bytes) => {
                e.u8(2)?.map(1)?.u8(1)?.bytes(bytes)?;
            }
            Self::Response(bytes) => {
                e.u8(3)?.map(1)?.u8(1)?.bytes(bytes)?;
            }
            Self::Welcome(welcome) => {
                e.u8(4)?.map(7 + u64::from(welcome.paths > 1) + u64::from(welcome.tcp))?;
                e.u8(1)?.bytes(&welcome.last)?.u8(2)?.u64(welcome.version)?;
                e.u8(3)?.u64(welcome.lanes as u64)?.u8(4)?.u16(welcome.data_port)?.u8(5)?;
                write_segments(e, &welcome.segments)?;
                e.u8(6)?.u64(welcome.dead_peer_ms)?.u8(7)?.u64(welcome.cipher)?;
                if welcome.paths > 1 {
                    e.u8(8)?.u64(welcome.paths as u64)?;
                }
                if welcome.tcp {
                    e.u8(16)?.bool(true)?;
                }
            }
            Self::Open(open) => {
                e.u8(5)?.map(3)?.u8(1)?;
                write_lanes(e, &open.lanes)?;
                e.u8(2)?.u64(open.count as u64)?.u8(3)?;
                write_segments(e, &open.segments)?;
            }
            Self::Opened(lanes) => {
                e.u8(6)?.map(1)?.u8(1)?;
                write_lanes(e, lanes)?;
            }
            Self::Refused { code, text, retry_ms } => {
                e.u8(7)?.map(if retry_ms.is_some() { 3 } else { 2 })?.u8(1)?.u64(*code)?.u8(2)?.str(text)?;
                if let Some(retry) = retry_ms {
                    e.u8(3)?.u64(*retry)?;
                }
            }
            Self::Bye { code, text } => {
                e.u8(8)?.map(2)?.u8(1)?.u64(*code)?.u8(2)?.str(text)?;
            }
            Self::Redirect(address) => {
                e.u8(9)?.map(1)?.u8(1)?.str(address)?;
            }
            Self::Segments(segments) => {
                e.u8(10)?.map(1)?.u8(1)?;
                write_segments(e, segments)?;
            }
            Self::Records(records) => {
                e.u8(batch::TYPE)?.map(1)?.u8(1)?.array(records.iter().count() as u64)?;
                for record in records.iter() {
                    e.bytes(record)?;
                }
            }
            Self::Question(question) => {
                e.u8(12)?;
                question.write(e)?;
            }
            Self::Answer(answer) => {
                e.u8(13)?;
                answer.write(e)?;
            }
            Self::Unknown(kind) => {
                e.u64(*kind)?.map(0)?;
            }
        }
        Ok(())
    }

    /// Reads a message. Unknown keys are skipped, unknown types become [`Message::Unknown`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(2) {
            return Err(bad("not an array of two"));
        }
        let kind = d.u64()?;
        let message = match kind {
            1 => Self::Login(login(&mut d)?),
            2 => Self::Challenge(one_bytes(&mut d)?),
            3 => Self::Response(one_bytes(&mut d)?),
            4 => Self::Welcome(welcome(&mut d)?),
            5 => Self::Open(open(&mut d)?),
            6 => Self::Opened(opened(&mut d)?),
            7 => refused(&mut d)?,
            8 => bye(&mut d)?,
            9 => redirect(&mut d)?,
            10 => segments_message(&mut d)?,
            11 => Self::Records(Records::read(&mut d, bytes)?),
            12 => Self::Question(Question::read(&mut d)?),
            13 => Self::Answer(Answer::read(&mut d)?),
            _ => {
                d.skip()?;
                Self::Unknown(kind)
            }
        };
        if d.position() == bytes.len() { Ok(message) } else { Err(bad("octets behind the message")) }
    }
}

/// Reads a map with unsigned keys; `read` returns whether it knows the key and has taken its value.
pub(crate) fn body<'b>(
    d: &mut Decoder<'b>,
    mut read: impl FnMut(u64, &mut Decoder<'b>) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    let entries = d.map()?.ok_or_else(|| bad("a map of indefinite length"))?;
    for _ in 0..entries {
        let key = d.u64()?;
        if !read(key, d)? {
            d.skip()?;
        }
    }
    Ok(())
}

/// Reads an array of at most `most` items.
fn list<'b, T>(
    d: &mut Decoder<'b>,
    most: usize,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = d.array()?.ok_or_else(|| bad("an array of indefinite length"))?;
    if count > most as u64 {
        return Err(bad("an array with too many items"));
    }
    (0..count).map(|_| item(d)).collect()
}

fn login(d: &mut Decoder<'_>) -> Result<Login, Malformed> {
    let (mut highest, mut lowest, mut instance, mut mechanism) = (None, None, None, None);
    let (mut first, mut software, mut ciphers, mut paths) = (None, String::new(), Vec::new(), 1);
    let mut tcp = false;
    body(d, |key, d| {
        match key {
            1 => highest = Some(d.u64()?),
            2 => lowest = Some(d.u64()?),
            3 => instance = Some(d.bytes()?.try_into().map_err(|_| bad("an instance of not 16 octets"))?),
            4 => mechanism = Some(d.str()?.to_owned()),
            5 => first = Some(d.bytes()?.to_vec()),
            6 => d.str()?.clone_into(&mut software),
            7 => ciphers = list(d, 64, |d| Ok(d.u64()?))?,
            8 => paths = lane_count(d)?,
            16 => tcp = d.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let missing = || bad("login without a key that it needs");
    Ok(Login {
        versions: (highest.ok_or_else(missing)?, lowest.ok_or_else(missing)?),
        instance: instance.ok_or_else(missing)?,
        mechanism: mechanism.ok_or_else(missing)?,
        first: first.ok_or_else(missing)?,
        software,
        ciphers,
        paths,
        tcp,
    })
}

fn one_bytes(d: &mut Decoder<'_>) -> Result<Vec<u8>, Malformed> {
    let mut found = None;
    body(d, |key, d| {
        if key == 1 {
            found = Some(d.bytes()?.to_vec());
        }
        Ok(key == 1)
    })?;
    found.ok_or_else(|| bad("a SASL message without its octets"))
}

fn lane_count(d: &mut Decoder<'_>) -> Result<usize, Malformed> {
    let count = d.u64()?;
    if (1..=MAX_LANES as u64).contains(&count) { Ok(count as usize) } else { Err(bad("not 1 to 64 lanes")) }
}

fn welcome(d: &mut Decoder<'_>) -> Result<Welcome, Malformed> {
    let (mut last, mut version, mut lanes, mut data_port) = (None, None, None, None);
    let (mut segments, mut dead_peer_ms, mut cipher, mut paths) = (Vec::new(), None, None, 1);
    let mut tcp = false;
    body(d, |key, d| {
        match key {
            1 => last = Some(d.bytes()?.to_vec()),
            2 => version = Some(d.u64()?),
            3 => lanes = Some(lane_count(d)?),
            4 => data_port = Some(d.u16()?),
            5 => segments = read_segments(d)?,
            6 => dead_peer_ms = Some(d.u64()?),
            7 => cipher = Some(d.u64()?),
            8 => paths = lane_count(d)?,
            16 => tcp = d.bool()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let missing = || bad("welcome without a key that it needs");
    Ok(Welcome {
        last: last.ok_or_else(missing)?,
        version: version.ok_or_else(missing)?,
        lanes: lanes.ok_or_else(missing)?,
        data_port: data_port.ok_or_else(missing)?,
        segments,
        dead_peer_ms: dead_peer_ms.ok_or_else(missing)?,
        cipher: cipher.ok_or_else(missing)?,
        paths,
        tcp,
    })
}

fn open(d: &mut Decoder<'_>) -> Result<Open, Malformed> {
    let (mut lanes, mut count, mut segments) = (None, None, Vec::new());
    body(d, |key, d| {
        match key {
            1 => lanes = Some(read_lanes(d)?),
            2 => count = Some(lane_count(d)?),
            3 => segments = read_segments(d)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let missing = || bad("open without a key that it needs");
    Ok(Open { lanes: lanes.ok_or_else(missing)?, count: count.ok_or_else(missing)?, segments })
}

fn opened(d: &mut Decoder<'_>) -> Result<Vec<LaneId>, Malformed> {
    let mut lanes = None;
    body(d, |key, d| {
        if key == 1 {
            lanes = Some(read_lanes(d)?);
        }
        Ok(key == 1)
    })?;
    lanes.ok_or_else(|| bad("opened without lanes"))
}

fn refused(d: &mut Decoder<'_>) -> Result<Message, Malformed> {
    let (mut code, mut text, mut retry_ms) = (None, String::new(), None);
    body(d, |key, d| {
        match key {
            1 => code = Some(d.u64()?),
            2 => d.str()?.clone_into(&mut text),
            3 => retry_ms = Some(d.u64()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Message::Refused { code: code.ok_or_else(|| bad("refused without a code"))?, text, retry_ms })
}

fn bye(d: &mut Decoder<'_>) -> Result<Message, Malformed> {
    let (mut code, mut text) = (None, String::new());
    body(d, |key, d| {
        match key {
            1 => code = Some(d.u64()?),
            2 => d.str()?.clone_into(&mut text),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Message::Bye { code: code.ok_or_else(|| bad("bye without a code"))?, text })
}

fn redirect(d: &mut Decoder<'_>) -> Result<Message, Malformed> {
    let mut address = None;
    body(d, |key, d| {
        if key == 1 {
            address = Some(d.str()?.to_owned());
        }
        Ok(key == 1)
    })?;
    address.map(Message::Redirect).ok_or_else(|| bad("redirect without an address"))
}

fn segments_message(d: &mut Decoder<'_>) -> Result<Message, Malformed> {
    let mut segments = None;
    body(d, |key, d| {
        if key == 1 {
            segments = Some(read_segments(d)?);
        }
        Ok(key == 1)
    })?;
    segments.map(Message::Segments).ok_or_else(|| bad("segments without a list"))
}

fn read_lanes(d: &mut Decoder<'_>) -> Result<Vec<LaneId>, Malformed> {
    list(d, MAX_LANES, |d| LaneId::new(d.u32()?).ok_or_else(|| bad("a lane ID of more than 24 bits")))
}

fn write_lanes<W: Write>(
    e: &mut Encoder<W>,
    lanes: &[LaneId],
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(lanes.len() as u64)?;
    for lane in lanes {
        e.u32(lane.get())?;
    }
    Ok(())
}

fn read_segments(d: &mut Decoder<'_>) -> Result<SegmentList, Malformed> {
    let segments = list(d, usize::from(TunnelId::MAX), |d| {
        if d.array()? != Some(2) {
            return Err(bad("a segment that is no pair"));
        }
        let tunnel = TunnelId::new(d.u16()?).ok_or_else(|| bad("a tunnel ID out of range"))?;
        Ok((tunnel, d.u16()?))
    })?;
    let mut seen = std::collections::HashSet::new();
    if segments.iter().all(|(tunnel, _)| seen.insert(*tunnel)) {
        Ok(segments)
    } else {
        Err(bad("a tunnel ID that comes twice"))
    }
}

fn write_segments<W: Write>(
    e: &mut Encoder<W>,
    segments: &SegmentList,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(segments.len() as u64)?;
    for (tunnel, mtu) in segments {
        e.array(2)?.u16(tunnel.get())?.u16(*mtu)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
