//! What NSX's users look at: `show service l2vpn` and what stands below it.

use bridge::Endpoint;
use config::{Encap, Mode};
use serde_json::{Value, json};

use super::macs::{Filter, MAX_ENTRIES};
use crate::clock::utc_text;
use crate::show::Shown;

impl Shown<'_> {
    /// What NSX shows of each tunnel, beside what [`Shown::answer`] has of it in `site`.
    pub(crate) fn tunnel(&self, index: usize, site: &Value, up_since: Option<session::Now>) -> Value {
        let description = match &self.layout.config().mode {
            Mode::Server(server) => server.sites.iter().find(|known| site["site"] == known.user.as_str()),
            Mode::Client(_) => None,
        };
        json!({
            "index": index + 1,
            "description": description.map(|site| &site.description),
            "interface": interface(site),
            "established": up_since.map(|then| utc_text(self.clock.unix_seconds(then))),
        })
    }

    /// `show service l2vpn site NAME`: all that is known of one, out of all of `service`.
    pub(crate) fn one_site(&self, service: &Value, name: &str) -> Result<Value, String> {
        let sites = service["sites"].as_array().into_iter().flatten();
        let found = sites.into_iter().find(|site| site["site"] == name).cloned();
        let mut found = found.ok_or_else(|| format!("there is no site {name:?}"))?;
        if let Mode::Server(server) = &self.layout.config().mode {
            if let Some(site) = server.sites.iter().find(|site| site.user == name) {
                found["egress_gateways"] =
                    site.egress.iter().map(|(_, address)| address.to_string()).collect::<Vec<_>>().into();
                found["max_macs"] = json!(site.max_macs);
                let config::SiteStormLimits { broadcast, multicast, unknown_unicast } = site.storm;
                found["storm_control"] = json!({
                    "broadcast": broadcast, "multicast": multicast, "unknown_unicast": unknown_unicast,
                });
                found["enabled_in_configuration"] = site.enabled.into();
            }
        }
        Ok(found)
    }

    /// `show service l2vpn bridge`.
    pub(crate) fn bridge(&self) -> Value {
        let rows = self.sub_interfaces(|segment, port, encap| {
            json!({
                "interface": port.name,
                "attachment": encap.to_string(),
                "tunnel_id": segment.tunnel_id.get(),
                "segment": segment.name,
            })
        });
        let table = self.macs(&Filter::default());
        let (found, now) = (table.found, self.now.as_secs());
        let age = self.layout.config().system.mac_age.as_secs();
        let mac = |entry: &bridge::Entry| {
            json!({
                "port": self.place(entry.endpoint),
                "mac": entry.mac.to_string(),
                "is_local": !matches!(entry.endpoint, Endpoint::Session(_)),
                "tunnel_id": self.layout.segment(entry.segment).map(|segment| segment.tunnel_id.get()),
                "ageing_s": age.saturating_sub(now.saturating_sub(entry.seen.into())),
            })
        };
        let macs: Vec<Value> = table.entries.iter().take(MAX_ENTRIES).map(mac).collect();
        json!({ "interfaces": rows, "macs": macs, "found": found })
    }

    /// `show service l2vpn conversion-table`: every row, also those whose tunnel ID is the VLAN, which NSX hides.
    pub(crate) fn conversion_table(&self) -> Value {
        let rows = self.sub_interfaces(|segment, port, encap| {
            let (id, kind) = match encap {
                Encap::Vxlan(vni) => (vni.to_string(), "VXLAN"),
                Encap::Untagged => ("-".into(), "untagged"),
                Encap::Vlan(vlan) => (vlan.to_string(), "VLAN"),
                Encap::Service(service, None) => (service.to_string(), "S-VLAN"),
                Encap::Service(service, Some(vlan)) => (format!("{service}.{vlan}"), "Q-in-Q"),
            };
            json!({
                "tunnel_id": segment.tunnel_id.get(),
                "id": id,
                "type": kind,
                "port": port.name,
                "segment": segment.name,
            })
        });
        json!({ "rows": rows })
    }

    /// `show service l2vpn trunk-table`.
    pub(crate) fn trunk_table(&self) -> Value {
        let rows = self.sub_interfaces(|segment, port, encap| {
            json!({
                "port": port.name,
                "segment": segment.name,
                "tunnel_id": segment.tunnel_id.get(),
                "attachment": encap.to_string(),
                "mtu": segment.mtu,
                "enabled": segment.enabled,
            })
        });
        json!({ "rows": rows })
    }

    fn sub_interfaces(&self, row: impl Fn(&config::Segment, &config::Port, &Encap) -> Value) -> Vec<Value> {
        let config = self.layout.config();
        let mut rows: Vec<(u16, Value)> = Vec::new();
        for segment in &config.segments {
            for attachment in &segment.attachments {
                let port = &config.ports[attachment.port];
                rows.push((segment.tunnel_id.get(), row(segment, port, &attachment.encap)));
            }
        }
        rows.sort_by_key(|(tunnel, _)| *tunnel);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// The uplinks that a site's frames take now, those that its paths know of else.
fn interface(site: &Value) -> Option<String> {
    let of = |wanted: &dyn Fn(&Value) -> bool| {
        let paths = site["paths"].as_array().into_iter().flatten().filter(|path| wanted(path));
        let mut names: Vec<&str> = paths.filter_map(|path| path["uplink"].as_str()).collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    };
    of(&|path| path["state"] == "up").or_else(|| of(&|_| true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_that_of_the_paths_that_carry_frames() {
        let site = |states: [&str; 2]| {
            json!({ "paths": [
                { "uplink": "wan1", "state": states[0] },
                { "uplink": "wan2", "state": states[1] },
                { "uplink": null, "state": "standby" },
            ] })
        };
        assert_eq!(interface(&site(["up", "up"])).as_deref(), Some("wan1, wan2"));
        assert_eq!(interface(&site(["down", "up"])).as_deref(), Some("wan2"));
        assert_eq!(interface(&site(["down", "down"])).as_deref(), Some("wan1, wan2"));
        assert_eq!(interface(&json!({ "paths": [] })), None);
    }
}
