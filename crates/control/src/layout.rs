//! The configuration in force, with the numbers by which workers, FDB and counters know its parts. Numbers stay the same when the
//! configuration is changed on the running appliance.

use bridge::{Endpoint, MAX_SEGMENTS, MAX_SESSIONS, SegmentIndex, SessionIndex};
use config::{Config, Encap, Mode, Segment, Site};
use session::Now;

use crate::places::{Arranged, NoPlace, Places};

/// What an attachment is known by: its segment's name, the port and the looks on it. A gateway has no port of the configuration.
pub(crate) type AttachmentKey = (String, Option<usize>, Encap);

/// The configuration with its numbers.
pub(crate) struct Layout {
    config: Config,
    segments: Places<String>,
    attachments: Places<AttachmentKey>,
    sites: Places<String>,
    /// Positions in the configuration, by number.
    segment_at: Vec<Option<usize>>,
    attachment_at: Vec<Option<Meeting>>,
    site_at: Vec<Option<usize>>,
}

/// Where a segment meets a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) segment: SegmentIndex,
    /// The port of the configuration; `None`: the segment's gateway.
    pub(crate) port: Option<usize>,
    pub(crate) encap: Encap,
}

/// The numbers that became free or were taken.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) segments: Arranged,
    pub(crate) attachments: Arranged,
    pub(crate) sites: Arranged,
}

impl Changes {
    /// Whether an address of the FDB belongs to something that is gone.
    pub(crate) fn removed(&self, segment: SegmentIndex, at: Endpoint) -> bool {
        self.segments.removed.contains(&segment.0)
            || match at {
                Endpoint::Attachment(at) | Endpoint::Vtep(at, _) => self.attachments.removed.contains(&at.0),
                Endpoint::Session(at) => self.sites.removed.contains(&at.0),
            }
    }
}

impl Layout {
    /// The layout of the configuration that the appliance starts with.
    pub(crate) fn new(config: Config, now: Now) -> Result<Self, NoPlace> {
        let mut layout = Self {
            segments: Places::new(MAX_SEGMENTS),
            attachments: Places::new(usize::from(Endpoint::MAX_ATTACHMENT) + 1),
            sites: Places::new(session_places(&config)),
            segment_at: Vec::new(),
            attachment_at: Vec::new(),
            site_at: Vec::new(),
            config: config.clone(),
        };
        layout.arrange(config, now)?;
        Ok(layout)
    }

    /// Puts another configuration in force. On an error the old one stays.
    pub(crate) fn arrange(&mut self, config: Config, now: Now) -> Result<Changes, NoPlace> {
        let segments: Vec<String> = config.segments.iter().map(|segment| segment.name.clone()).collect();
        let attachments: Vec<AttachmentKey> = config.segments.iter().flat_map(attachment_keys).collect();
        let sites: Vec<String> = site_names(&config);
        // All or nothing.
        self.sites.room_for(&sites, now)?;
        self.attachments.room_for(&attachments, now)?;
        self.segments.room_for(&segments, now)?;
        let changes = Changes {
            sites: self.sites.arrange(&sites, now)?,
            attachments: self.attachments.arrange(&attachments, now)?,
            segments: self.segments.arrange(&segments, now)?,
        };
        self.segment_at = positions(&self.segments, &segments);
        self.site_at = positions(&self.sites, &sites);
        self.attachment_at = vec![None; self.attachments.len()];
        for key in &attachments {
            let (segment, port, encap) = key;
            if let (Some(at), Some(segment)) = (self.attachments.get(key), self.segments.get(segment)) {
                self.attachment_at[usize::from(at)] =
                    Some(Meeting { segment: SegmentIndex(segment), port: *port, encap: *encap });
            }
        }
        self.config = config;
        Ok(changes)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The segments with their numbers, in the order of the configuration.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (SegmentIndex, &Segment)> {
        let place = |segment: &Segment| self.segments.get(&segment.name).map(SegmentIndex);
        self.config.segments.iter().filter_map(move |segment| Some((place(segment)?, segment)))
    }

    /// The segment with this number.
    pub(crate) fn segment(&self, index: SegmentIndex) -> Option<&Segment> {
        let at = (*self.segment_at.get(usize::from(index.0))?)?;
        self.config.segments.get(at)
    }

    /// The number of the segment at this position of the configuration.
    pub(crate) fn segment_index(&self, position: usize) -> Option<SegmentIndex> {
        self.segments.get(&self.config.segments.get(position)?.name).map(SegmentIndex)
    }

    /// Segments by number, with gaps.
    pub(crate) fn segment_places(&self) -> impl Iterator<Item = Option<&Segment>> {
        self.segment_at.iter().map(|at| self.config.segments.get((*at)?))
    }

    /// Attachments by number, with gaps.
    pub(crate) fn attachment_places(&self) -> &[Option<Meeting>] {
        &self.attachment_at
    }

    /// The sites with their numbers. None on a client, whose one session is number 0.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (SessionIndex, &Site)> {
        let place = |site: &Site| self.sites.get(&site.user).map(SessionIndex);
        sites(&self.config).iter().filter_map(move |site| Some((place(site)?, site)))
    }

    /// The site with this number. None on a client.
    pub(crate) fn site(&self, index: SessionIndex) -> Option<&Site> {
        let at = (*self.site_at.get(usize::from(index.0))?)?;
        sites(&self.config).get(at)
    }

    /// Whether there is, or can come to be, a session with this number.
    pub(crate) fn has_session(&self, index: SessionIndex) -> bool {
        match &self.config.mode {
            Mode::Client(_) => index == SessionIndex(0),
            Mode::Server(_) => self.site(index).is_some(),
        }
    }

    /// The numbers of all sessions that there can be now.
    pub(crate) fn session_indices(&self) -> Vec<SessionIndex> {
        match &self.config.mode {
            Mode::Client(_) => vec![SessionIndex(0)],
            Mode::Server(_) => self.sites().map(|(index, _)| index).collect(),
        }
    }

    /// Numbers of sessions, taken and empty.
    pub(crate) fn session_places(&self) -> usize {
        self.sites.len().max(1)
    }
}

/// Most sessions that an appliance with this configuration can come to have.
pub fn session_places(config: &Config) -> usize {
    match &config.mode {
        Mode::Client(_) => 1,
        Mode::Server(_) => MAX_SESSIONS,
    }
}

fn sites(config: &Config) -> &[Site] {
    match &config.mode {
        Mode::Server(server) => &server.sites,
        Mode::Client(_) => &[],
    }
}

fn site_names(config: &Config) -> Vec<String> {
    sites(config).iter().map(|site| site.user.clone()).collect()
}

fn attachment_keys(segment: &Segment) -> Vec<AttachmentKey> {
    let ports = segment.attachments.iter().map(|at| (segment.name.clone(), Some(at.port), at.encap));
    let gateway = segment.gateway.iter().map(|_| (segment.name.clone(), None, Encap::Untagged));
    ports.chain(gateway).collect()
}

/// Positions in a list, by number.
fn positions(places: &Places<String>, names: &[String]) -> Vec<Option<usize>> {
    let mut positions = vec![None; places.len()];
    for (at, name) in names.iter().enumerate() {
        if let Some(place) = places.get(name) {
            positions[usize::from(place)] = Some(at);
        }
    }
    positions
}
