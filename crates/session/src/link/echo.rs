//! Echo requests of one path: is it alive, how long is the round trip, how much is lost (protocol 4.3).

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Now, Random};

/// Octets of a token.
const TOKEN: usize = 8;

/// What nobody but the receiver of a block can know.
pub(crate) type Token = [u8; TOKEN];

/// A request without a reply for so long is lost.
const LOST: Duration = Duration::from_secs(2);

/// Requests that loss is counted over.
const HISTORY: u32 = 64;

/// The flag by which a request says that its sender hears the peer on this path.
const HEARS: u8 = 1;

/// The requests of one path.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    waiting: VecDeque<(Token, Now)>,
    round_trip: Option<Duration>,
    /// One bit for each of the last requests: answered. The newest is the lowest.
    answered: u64,
    counted: u32,
}

impl Echoes {
    /// A new request, to be sent now; `hears`: whether anything of the peer arrives by this path.
    pub(crate) fn request(&mut self, now: Now, hears: bool, random: &mut dyn Random) -> Vec<u8> {
        self.expire(now);
        let token = token(random);
        self.waiting.push_back((token, now));
        request(&token, hears)
    }

    /// A reply came. Returns whether it belongs to a request of this path.
    pub(crate) fn reply(&mut self, now: Now, token: &Token) -> bool {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| waiting == token) else { return false };
        let Some((_, sent)) = self.waiting.remove(at) else { return false };
        let time = now.saturating_sub(sent);
        // Smoothed as TCP does (RFC 6298 2.3).
        self.round_trip = Some(self.round_trip.map_or(time, |old| (old * 7 + time) / 8));
        self.count(true);
        true
    }

    /// The smoothed round-trip time.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Percent of the last requests that were not answered; `None` before there was any.
    pub(crate) fn loss(&self) -> Option<f64> {
        let lost = self.counted - self.answered.count_ones();
        (self.counted > 0).then(|| 100.0 * f64::from(lost) / f64::from(self.counted))
    }

    fn expire(&mut self, now: Now) {
        while self.waiting.front().is_some_and(|(_, sent)| now >= *sent + LOST) {
            self.waiting.pop_front();
            self.count(false);
        }
    }

    fn count(&mut self, answered: bool) {
        self.answered = self.answered << 1 | u64::from(answered);
        self.counted = (self.counted + 1).min(HISTORY);
    }
}

/// Eight octets that cannot be guessed.
pub(crate) fn token(random: &mut dyn Random) -> Token {
    let mut token = [0; TOKEN];
    random.fill(&mut token);
    token
}

/// An echo request.
pub(crate) fn request(token: &Token, hears: bool) -> Vec<u8> {
    [&[super::ECHO_REQUEST][..], token, &[if hears { HEARS } else { 0 }]].concat()
}

/// Whether the sender of a request, given behind its token, hears us on this path. One that does not say so does.
pub(crate) fn hears(rest: &[u8]) -> bool {
    rest.first().is_none_or(|flags| flags & HEARS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u8);

    impl Random for Count {
        fn fill(&mut self, out: &mut [u8]) {
            self.0 += 1;
            out.fill(self.0);
        }
    }

    #[test]
    fn loss_is_counted_over_the_last_requests() {
        let (mut echoes, mut random) = (Echoes::default(), Count(0));
        assert_eq!(echoes.loss(), None);
        for at in 0..100u64 {
            let block = echoes.request(Duration::from_secs(3 * at), true, &mut random);
            if at % 4 != 0 {
                let token = *block[1..].first_chunk().expect("a token");
                assert!(echoes.reply(Duration::from_secs(3 * at) + Duration::from_millis(20), &token));
                assert!(!echoes.reply(Duration::from_secs(3 * at), &token), "once only");
            }
        }
        assert_eq!(echoes.loss(), Some(25.0));
        assert_eq!(echoes.round_trip(), Some(Duration::from_millis(20)));
    }
}
