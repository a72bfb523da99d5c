//! What is asked of the appliance, and who answers.

use serde_json::json;

use crate::appliance::Appliance;
use crate::requests::Request;

impl Appliance {
    /// Answers a request, or sees that it is answered later.
    pub(crate) fn request(&mut self, request: Request) {
        let words = request.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["reload"] => {
                let done = self.reload().map(|done| json!({ "done": done }));
                request.reply.answer(done);
            }
            // `show` may be left out, as the first version of the socket had it.
            ["show", ref what @ ..] | ref what => request.reply.answer(self.show(&what.join(" "))),
        }
    }
}
