//! `show queues`: who polls what, and how full the ways between the threads are.

use config::Device;
use serde_json::{Map, Value, json};

use crate::appliance::Appliance;

impl Appliance {
    /// `show queues`.
    pub(crate) fn queues(&self) -> Value {
        let config = self.layout.config();
        let workers = config.system.workers.len();
        let below = self.parts.lines.queues();
        let port = |(at, port): (usize, &config::Port)| {
            let kind = match port.device {
                Device::Pci(_) => "dpdk pci",
                Device::Vdev(_) => "dpdk vdev",
                Device::AfPacket(_) => "dpdk af_packet",
                Device::Kernel(_) => "kernel",
            };
            let below = below.get(at).and_then(Option::as_ref);
            let queue = |worker: usize| {
                let counted = self.parts.counters.queue(worker, at);
                let names = below.and_then(|queues| queues.get(worker)).into_iter().flatten();
                let device: Map<String, Value> =
                    names.map(|(name, value)| (name.clone(), Value::from(*value))).collect();
                json!({
                    "queue": worker,
                    "rx_frames": counted.rx_frames,
                    "rx_octets": counted.rx_octets,
                    "tx_frames": counted.tx_frames,
                    "tx_octets": counted.tx_octets,
                    "device": below.map(|_| device),
                })
            };
            let no_counters =
                "its driver counts no queues: there is only what the workers have taken and given";
            json!({
                "port": port.name,
                "kind": kind,
                "pairs": workers,
                "polled_by": "every worker its own pair",
                "queues": (0..workers).map(queue).collect::<Vec<_>>(),
                "note": below.is_none().then_some(no_counters),
            })
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
        json!({ "ports": config.ports.iter().enumerate().map(port).collect::<Vec<_>>(), "between_threads": between })
    }
}
