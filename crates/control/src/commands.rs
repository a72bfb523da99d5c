//! What is asked of the appliance, and who answers.

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::requests::{Request, Role};

impl Appliance {
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
            ["show", "certificate"] | ["certificate"] => {
                request.reply.answer(Ok(self.connections.certificates()))
            }
            // `show` may be left out, as the first version of the socket had it.
            ["show", ref what @ ..] | ref what => request.reply.answer(self.show(&what.join(" "))),
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
            _ => return Err("there are: clear loops, clear duplicates [MAC]".into()),
        };
        Ok(json!({ "done": done }))
    }
}
