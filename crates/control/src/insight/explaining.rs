//! The course of an `explain`: here at once, then at the other ends of the sessions that the frame goes into.

use std::sync::Arc;
use std::time::Duration;

use bridge::{Endpoint, SessionIndex};
use pipeline::capture::{Filter, Point, Tap, Tapped};
use serde_json::{Value, json};
use session::Now;
use session::question::{Detail, get};

use super::Job;
use super::asks::{Answered, to_json};
use super::capture::MAX_SNAP;
use super::explain::{self, Explained, Input};
use crate::appliance::Appliance;
use crate::requests::Reply;

/// Most other ends that are asked.
const MAX_ENDS: usize = 8;

/// A live frame is waited for so long.
const LIVE_TIME: Duration = Duration::from_secs(60);

/// Most who wait for a live frame at one time: the workers show each of them every frame.
const MAX_LIVE: usize = 2;

/// Waits for the other ends.
struct Explaining {
    reply: Option<Reply>,
    here: Vec<Value>,
    /// By site; the question's number, and what came of it.
    there: Vec<(String, Option<u64>, Option<Value>)>,
}

/// Waits for a live frame.
struct Live {
    reply: Option<Reply>,
    tapped: [Tapped; 2],
    until: Now,
}

/// Starts one.
pub(super) fn start(appliance: &mut Appliance, words: &[&str], reply: Reply) {
    let found = appliance.has_room_for_a_job().and_then(|()| match words {
        ["live", filter @ ..] => {
            let filter = Filter::of_words(filter.iter().copied()).map_err(|error| error.to_string())?;
            let live = appliance.insight.taps.iter().filter(|tap| tap.point == Point::Trunks).count();
            if live >= MAX_LIVE {
                return Err(format!("{live} wait for a live frame already: try again in a minute"));
            }
            Ok((None, Some(filter)))
        }
        _ => Ok((Some(appliance.with_shown(|shown| explain::parse(words, shown))?), None)),
    });
    match found {
        Ok((Some(input), _)) => explain(appliance, &input, reply),
        Ok((None, filter)) => live(appliance, &filter.unwrap_or_default(), reply),
        Err(error) => reply.answer(Err(error)),
    }
}

fn explain(appliance: &mut Appliance, input: &Input, reply: Reply) {
    let Explained { steps, crossings } = appliance.with_shown(|shown| explain::explain(input, shown));
    let mut there = Vec::new();
    for (session, tunnel, frame) in crossings.into_iter().take(MAX_ENDS) {
        let details =
            vec![("tunnel".into(), Detail::Uint(tunnel.into())), ("frame".into(), Detail::Bytes(frame))];
        let number = appliance.ask(session, "explain", details);
        let site = appliance.site_name(session);
        there.push((site, number, None));
    }
    appliance.start_job(Explaining { reply: Some(reply), here: steps, there });
}

impl Job for Explaining {
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        let mut waiting = false;
        for (site, number, answer) in self.there.iter_mut().filter(|(.., answer)| answer.is_none()) {
            let answered = match number {
                Some(number) => appliance.insight.asks.take(*number, now),
                None => Answered::NotKnown,
            };
            *answer = match answered {
                Answered::Waiting => {
                    waiting = true;
                    None
                }
                Answered::Known(details) if get(&details, "steps").is_some() => {
                    Some(json!({ "site": site, "steps": to_json(&details)["steps"] }))
                }
                _ => Some(json!({
                    "site": site,
                    "steps": null,
                    "why": "the other end does not answer: it is of an older version, its control connection is lost, or it is asked too much at present",
                })),
            };
        }
        if waiting {
            return false;
        }
        let there: Vec<Value> = self.there.drain(..).filter_map(|(.., answer)| answer).collect();
        if let Some(reply) = self.reply.take() {
            reply.answer(Ok(json!({ "here": self.here, "there": there })));
        }
        true
    }
}

/// Waits for the next frame on a trunk port, or out of a session, that the filter takes.
fn live(appliance: &mut Appliance, filter: &Filter, reply: Reply) {
    let [(trunks, on_trunks), (sessions, in_sessions)] =
        [Point::Trunks, Point::Sessions].map(|point| Tap::new(point, filter.clone(), MAX_SNAP, 4));
    appliance.insight.taps.extend([trunks, sessions]);
    appliance.dirty = true;
    let until = appliance.now() + LIVE_TIME;
    appliance.start_job(Live { reply: Some(reply), tapped: [on_trunks, in_sessions], until });
}

impl Job for Live {
    fn work(&mut self, appliance: &mut Appliance, now: Now) -> bool {
        let taken = self.tapped.iter().find_map(Tapped::take);
        let gone = self.reply.as_ref().is_none_or(Reply::is_gone);
        if taken.is_none() && now < self.until && !gone {
            return false;
        }
        appliance.insight.taps.retain(|tap| !self.tapped.iter().any(|tapped| Arc::ptr_eq(tapped.tap(), tap)));
        appliance.dirty = true;
        let Some(reply) = self.reply.take() else { return true };
        let input = taken.and_then(|packet| match (packet.place.port, packet.place.endpoint) {
            (Some(port), _) => Some(Input::Port(port, packet.octets)),
            (None, Some(Endpoint::Session(session))) => {
                let tunnel = appliance.layout.segment(packet.place.segment?)?.tunnel_id.get();
                Some(Input::Session(session, tunnel, packet.octets))
            }
            _ => None,
        });
        match input {
            Some(input) => explain(appliance, &input, reply),
            None => reply.answer(Err(format!(
                "no such frame came within {} s, neither on a trunk port nor from a site",
                LIVE_TIME.as_secs()
            ))),
        }
        true
    }
}

impl Appliance {
    /// The name of the site at the other end of a session.
    pub(super) fn site_name(&self, session: SessionIndex) -> String {
        let sites = self.sessions.status();
        sites.get(usize::from(session.0)).map_or_else(|| "?".into(), |site| site.site.clone())
    }
}
