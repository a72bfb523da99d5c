//! Which words show what.

use serde_json::Value;
use tracing::Level;

use super::{configuration, tech_support, version};
use crate::appliance::Appliance;
use crate::show::Shown;

impl Appliance {
    /// Answers `show` with these words.
    ///
    /// # Errors
    /// There is nothing of that name.
    pub(crate) fn look(&self, words: &[&str]) -> Result<Value, String> {
        let tables = self.tables();
        let mut shown = self.shown(&tables);
        shown.counters = &self.operator.counters;
        match *words {
            ["service", "l2vpn"] => self.service(&shown),
            ["service", "l2vpn", "bridge"] => Ok(shown.bridge()),
            ["service", "l2vpn", "conversion-table"] => Ok(shown.conversion_table()),
            ["service", "l2vpn", "trunk-table"] => Ok(shown.trunk_table()),
            ["service", "l2vpn", "site", name] => shown.one_site(&self.service(&shown)?, name),
            ["sessions"] => self.sessions_shown(&self.service(&shown)?, None),
            ["sessions", name] => self.sessions_shown(&self.service(&shown)?, Some(name)),
            ["mac-table", ref filters @ ..] => shown.mac_table(filters),
            ["counters"] => {
                let mut counters = shown.counters_with_rates(&self.operator.rates);
                let since = self.now().saturating_sub(self.operator.cleared).as_secs();
                counters["counted_s"] = since.into();
                Ok(counters)
            }
            ["workers"] => Ok(shown.workers(&self.operator.rates)),
            ["top"] => shown.top(self.service(&shown)?, &self.alarms(), &self.operator.rates),
            ["queues"] => Ok(self.queues()),
            ["consoles"] => {
                let mut consoles = self.consoles.show(self.now());
                let (captures, tests) = self.insight.running();
                consoles["captures"] = captures.into();
                consoles["tests"] = tests.into();
                Ok(consoles)
            }
            ["version"] => Ok(version(shown.clock, shown.now)),
            ["configuration"] => configuration(self.configure.file(), false),
            ["configuration", "l2vpn"] => configuration(self.configure.file(), true),
            ["alarms"] => Ok(self.alarms()),
            ["debug"] => Ok(self.operator.debug.show(self.now())),
            ["log", ref words @ ..] => self.log(words),
            ["certificate"] => Ok(self.connections.certificates()),
            ["tech-support"] => Ok(tech_support(|words| self.look(words))),
            ref other => shown.answer(&other.join(" ")),
        }
    }

    /// `show service l2vpn`, of which all that tells of sites has its part.
    fn service(&self, shown: &Shown<'_>) -> Result<Value, String> {
        let mut service = shown.answer("service l2vpn")?;
        service["running"] = shown.runs.into();
        service["type"] = service["mode"].clone();
        let indices = self.layout.session_indices();
        for (at, site) in service["sites"].as_array_mut().into_iter().flatten().enumerate() {
            let status = indices.get(at).and_then(|index| shown.sites.get(usize::from(index.0)));
            let tunnel = shown.tunnel(at, site, status.and_then(|status| status.up_since));
            for (name, value) in tunnel.as_object().into_iter().flatten() {
                site[name] = value.clone();
            }
            let switched = site["site"].as_str().and_then(|name| self.operator.switched(name));
            site["switched_by_hand"] =
                switched.map_or(Value::Null, |enabled| if enabled { "enabled" } else { "disabled" }.into());
        }
        Ok(service)
    }

    fn log(&self, words: &[&str]) -> Result<Value, String> {
        let (mut level, mut limit) = (Level::TRACE, 100);
        for pair in words.chunks(2) {
            match *pair {
                ["level", name] => {
                    level = name.parse().map_err(|_| "levels are error, warn, info, debug, trace")?
                }
                ["limit", number] => limit = number.parse().map_err(|_| "limit takes a number")?,
                _ => return Err("log takes level LEVEL and limit N".into()),
            }
        }
        Ok(self.operator.book.show(level, limit))
    }
}
