//! `show top`: what the live view draws from, in one answer.

use serde_json::{Value, json};

use super::Rates;
use crate::show::Shown;

impl Shown<'_> {
    /// What [`console::top::Top`] draws, with the time of the answer.
    pub(crate) fn top(&self, service: Value, alarms: &Value, rates: &Rates) -> Result<Value, String> {
        Ok(json!({
            "now_s": self.now.as_secs_f64(),
            "service": service,
            "segments": self.answer("segments")?,
            "counters": self.counters(),
            "workers": self.workers(rates)["workers"],
            "alarms": alarms["alarms"],
        }))
    }
}
