//! What is asked of the appliance, and who answers.

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::consoles::Known;
use crate::requests::{Request, Role};

impl Appliance {
    /// One round of requests and consoles.
    pub(crate) fn serve_requests(&mut self) {
        let events = self.connections.take_others();
        let now = self.now();
        let (mut requests, opened) = self.requests.requests(self.connections.registry(), &events, now);
        let names = Known { layout: &self.layout, configure: &self.configure, fdb: &self.parts.fdb };
        for new in opened {
            self.consoles.open(new, self.connections.registry(), now, &names);
        }
        requests.extend(self.consoles.requests(self.connections.registry(), &events, now, &names));
        for request in requests {
            self.request(request);
        }
        self.requests.flush(now);
        let names = Known { layout: &self.layout, configure: &self.configure, fdb: &self.parts.fdb };
        self.consoles.flush(now, &names);
    }

    /// Answers a request, or sees that it is answered later.
    pub(crate) fn request(&mut self, request: Request) {
        let words = request.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some(request) = self.insight_request(&words, request) else { return };
        match *words.as_slice() {
            ["reload"] => {
                let done = self.reload().map(|done| json!({ "done": done }));
                request.reply.answer(done);
            }
            ["clear", ref what @ ..] => request.reply.answer(self.clear(what)),
            ["configure", ref what @ ..] => {
                let who = request.who.to_string();
                let done = match request.who.role {
                    Role::Admin => self.configure(&who, what),
                    Role::Operator => Err("an operator may look, not change".into()),
                };
                request.reply.answer(done);
            }
            ["service", "l2vpn", switch @ ("enable" | "disable")] => {
                let done = self.switch_service(switch == "enable").map(|done| json!({ "done": done }));
                request.reply.answer(done);
            }
            ["site", switch @ ("enable" | "disable"), name] => {
                let done = self.switch_site(name, switch == "enable").map(|done| json!({ "done": done }));
                request.reply.answer(done);
            }
            ["debug", ref what @ ..] => {
                let now = self.now();
                request.reply.answer(self.operator.debug.request(what, now));
            }
            // `show` may be left out, as the first version of the socket had it.
            ["show", ref what @ ..] | ref what => request.reply.answer(self.look(what)),
        }
    }

    /// `clear`: forgets what was found, so that it is looked for anew.
    fn clear(&mut self, what: &[&str]) -> Result<Value, String> {
        let done = match *what {
            ["loops"] => format!("{} attachments listen anew", self.clear_loops()),
            ["duplicates"] => format!("{} addresses may move again", self.clear_duplicates(None)),
            ["duplicates", mac] => {
                let mac = mac.parse().map_err(|_| format!("{mac:?} is no MAC address"))?;
                match self.clear_duplicates(Some(mac)) {
                    0 => {
                        return Err(format!(
                            "{mac} is not pinned; `show mac-table` says which addresses are"
                        ));
                    }
                    _ => format!("{mac} may move again"),
                }
            }
            ["neighbours"] => format!("{} neighbours are forgotten", self.clear_neighbours()),
            ["counters"] => self.clear_counters(),
            ["mac-table", ref filters @ ..] => self.clear_macs(filters)?,
            ["sessions"] => self.clear_sessions(None)?,
            ["sessions", site] => self.clear_sessions(Some(site))?,
            _ => {
                return Err(
                    "there are: clear counters, mac-table [filters], sessions [SITE], loops, duplicates [MAC], neighbours".into()
                );
            }
        };
        Ok(json!({ "done": done }))
    }
}
