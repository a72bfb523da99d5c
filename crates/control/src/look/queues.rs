//! `show queues`: who polls what, and how full the ways between the threads are.

use config::Device;
use serde_json::{Value, json};

use crate::appliance::Appliance;

impl Appliance {
    /// `show queues`.
    pub(crate) fn queues(&self) -> Value {
        let config = self.layout.config();
        let workers = config.system.workers.len();
        let port = |port: &config::Port| {
            let kind = match port.device {
                Device::Pci(_) => "dpdk pci",
                Device::Vdev(_) => "dpdk vdev",
                Device::AfPacket(_) => "dpdk af_packet",
                Device::Kernel(_) => "kernel",
            };
            json!({ "port": port.name, "kind": kind, "pairs": workers, "polled_by": "every worker its own pair" })
        };
        let (commands, events, notices) = self.waiting();
        let mut between = vec![
            json!({ "queue": "events", "from": "workers", "to": "control", "waiting": events.0, "room": events.1 }),
            json!({ "queue": "notices", "from": "workers", "to": "control", "waiting": notices.0, "room": notices.1 }),
        ];
        for (worker, (waiting, room)) in commands.into_iter().enumerate() {
            between.push(json!({
                "queue": "commands", "from": "control", "to": format!("worker {worker}"), "waiting": waiting, "room": room
            }));
        }
        json!({ "ports": config.ports.iter().map(port).collect::<Vec<_>>(), "between_threads": between })
    }
}
