//! What of a client's configuration is the machine's: `[system]` and `[[port]]`, as asked for, as they were, or as the machine has them.

use std::fmt::Write;
use std::fs;

use config::edit::{Candidate, only, quoted};
use config::{Device, Port, Role, Sketch};

use super::Join;
use crate::{Failure, SOCKET};

/// The MTUs that a port can have.
const PORT_MTU: std::ops::RangeInclusive<u16> = 1280..=9600;

/// The names of ports that are made here, and of the Linux interface of an uplink that has none yet.
const TRUNK: &str = "trunk0";
const UPLINK: &str = "wan";

/// Ports and cores.
pub(super) struct Hardware {
    /// As they stand in the file.
    pub(super) text: String,
    /// The port that segments meet.
    pub(super) trunk: Port,
    /// What the operator should know.
    pub(super) remarks: Vec<String>,
}

impl Hardware {
    /// Those that `join` asks for; what it does not ask for is kept from `old`, the file that is to be replaced.
    pub(super) fn of(join: &Join, old: Option<&str>) -> Result<Self, Failure> {
        let mut remarks = Vec::new();
        let old = old.and_then(|text| {
            let kept = only(text, &["system", "port"]).ok()?;
            let sketch = Sketch::of(&join.config, &kept)?;
            Some((kept, sketch))
        });
        let (begun, there) = match old {
            Some((kept, sketch)) => (kept, sketch.ports.into_iter().map(|(_, port)| port).collect()),
            None => (String::new(), Vec::new()),
        };
        let mut candidate = Candidate::new(&join.config, &begun)?;
        if let Some(worker) = join.worker.or(begun.is_empty().then_some(0)) {
            candidate.set(&["system", "workers", &worker.to_string()])?;
        }
        if begun.is_empty() || join.socket.as_os_str() != SOCKET {
            candidate.set(&["system", "socket", &join.socket.display().to_string()])?;
        }
        let (mut new, mut new_uplink) = (String::new(), String::new());
        let uplink = choose(&mut candidate, &there, Role::Uplink, join.uplink.as_deref())?;
        let uplink = match uplink {
            Chosen::Kept(port) => {
                if let Some(interface) = &join.interface {
                    candidate.set(&["port", &port.name, "interface", interface])?;
                }
                port.interface.clone().unwrap_or_default()
            }
            Chosen::Given(device) => {
                add_uplink(&mut new_uplink, device, join.interface.as_deref(), &mut remarks)
            }
            Chosen::None => {
                let device = default_route()
                    .ok_or_else(|| Failure("there is no default route: say --uplink INTERFACE".into()))?;
                add_uplink(&mut new_uplink, &device, join.interface.as_deref(), &mut remarks)
            }
        };
        match choose(&mut candidate, &there, Role::Trunk, join.trunk.as_deref())? {
            Chosen::Kept(_) => {}
            Chosen::Given(device) => add(&mut new, TRUNK, Role::Trunk, device),
            Chosen::None => add(&mut new, TRUNK, Role::Trunk, &only_other(&uplink)?),
        }
        new += &new_uplink;
        let is_pci = |(_, port): &(usize, Port)| matches!(port.device, Device::Pci(_));
        if Sketch::of(&join.config, &new).is_some_and(|sketch| sketch.ports.iter().any(is_pci)) {
            candidate.set(&["system", "hugepages", "true"])?;
        }
        let text = format!("{}\n{new}", candidate.text().trim());
        let trunk = Sketch::of(&join.config, &text)
            .and_then(|sketch| {
                sketch.ports.into_iter().map(|(_, port)| port).find(|port| port.role == Role::Trunk)
            })
            .ok_or_else(|| {
                Failure(format!("{:?} is no device of a port", join.trunk.as_deref().unwrap_or_default()))
            })?;
        if !there.is_empty() {
            remarks.push(format!(
                "[system] and ports that no option names are as they were in {}",
                join.config.display()
            ));
        }
        Ok(Self { text, trunk, remarks })
    }
}

enum Chosen<'a> {
    /// By an option.
    Given(&'a str),
    /// The first of those that are there.
    Kept(&'a Port),
    None,
}

/// Chooses the ports of a role. Those that are there go if the operator names another.
fn choose<'a>(
    candidate: &mut Candidate,
    there: &'a [Port],
    role: Role,
    given: Option<&'a str>,
) -> Result<Chosen<'a>, Failure> {
    let mut known = there.iter().filter(|port| port.role == role);
    let Some(given) = given else { return Ok(known.next().map_or(Chosen::None, Chosen::Kept)) };
    for port in known {
        candidate.delete(&["port", &port.name])?;
    }
    Ok(Chosen::Given(given))
}

/// Adds an uplink, and returns its Linux interface.
fn add_uplink(text: &mut String, device: &str, interface: Option<&str>, remarks: &mut Vec<String>) -> String {
    add(text, UPLINK, Role::Uplink, device);
    let device = device_text(device);
    let own = device.split_once(':').filter(|(kind, _)| ["kernel", "af_packet"].contains(kind));
    let own = own.map(|(_, interface)| interface);
    let own = own.or_else(|| device.split(',').find_map(|part| part.strip_prefix("iface=")));
    if let (None, Some(own)) = (interface, own) {
        return own.into();
    }
    let interface = interface.unwrap_or(UPLINK);
    // Writing to a String does not fail.
    let _ = writeln!(text, "interface = {}", quoted(interface));
    remarks.push(format!(
        "the uplink's Linux interface is {interface} (--interface names another): it may appear only when the appliance starts; give it the address"
    ));
    interface.into()
}

fn add(text: &mut String, name: &str, role: Role, device: &str) {
    let role = if role == Role::Uplink { "uplink" } else { "trunk" };
    let _ = write!(
        text,
        "\n[[port]]\nname = \"{name}\"\nrole = \"{role}\"\ndevice = {}\nmtu = {}\n",
        quoted(&device_text(device)),
        mtu(device)
    );
}

/// A device as people know it.
pub(super) fn told(device: &Device) -> &str {
    match device {
        Device::Pci(name) | Device::Vdev(name) | Device::AfPacket(name) | Device::Kernel(name) => name,
    }
}

/// An interface is a kernel port; everything else is a device as it stands.
fn device_text(device: &str) -> String {
    let is_device = device.contains(':') || device.starts_with("net_") || device.starts_with("eth_");
    if is_device { device.into() } else { format!("kernel:{device}") }
}

fn mtu(device: &str) -> u16 {
    let interface = device.strip_prefix("kernel:").unwrap_or(device);
    let read = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    let mtu = read.ok().and_then(|text| text.trim().parse::<u16>().ok()).unwrap_or(1500);
    mtu.clamp(*PORT_MTU.start(), *PORT_MTU.end())
}

/// The interface of the default route (proc_pid_net(5): destination and mask are zero).
fn default_route() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| (*fields[0]).to_owned())
    })
}

/// The one interface beside the uplink and the loopback.
fn only_other(uplink: &str) -> Result<String, Failure> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "lo" && name != uplink)
        .collect();
    names.sort();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure("there is no interface beside the uplink: say --trunk INTERFACE".into())),
        several => Err(Failure(format!("say --trunk INTERFACE: there are {}", several.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        join: Join,
    }

    fn made(words: &str, old: Option<&str>) -> Hardware {
        let cli = Cli::parse_from(["join"].into_iter().chain(words.split_whitespace()));
        Hardware::of(&cli.join, old).unwrap_or_else(|Failure(told)| panic!("{told}"))
    }

    /// What `causeway setup --write` begins with.
    fn skeleton() -> String {
        let port =
            |name: &str, is_uplink, device: &str, interface: Option<&str>| machine::plan::PlannedPort {
                name: name.into(),
                is_uplink,
                device: device.into(),
                interface: interface.map(Into::into),
                bind: None,
            };
        let plan = machine::Plan {
            ports: vec![
                port("trunk0", false, "0000:03:00.0", None),
                port("wan", true, "0000:04:00.0", Some("eth1")),
            ],
            workers: vec![2, 3],
            memory_mb: 512,
            hugepages: vec![machine::plan::Pages { node: 0, page_kb: 2048, pages: 288 }],
            remarks: Vec::new(),
        };
        plan.skeleton()
    }

    fn sketch(made: &Hardware) -> Sketch {
        Sketch::of(std::path::Path::new("a.toml"), &made.text).unwrap_or_else(|| panic!("{}", made.text))
    }

    fn devices(sketch: &Sketch) -> Vec<&str> {
        sketch.ports.iter().map(|(_, port)| told(&port.device)).collect()
    }

    #[test]
    fn what_setup_wrote_is_kept() {
        let kept = made("--force", Some(&skeleton()));
        let found = sketch(&kept);
        assert_eq!(devices(&found), ["0000:03:00.0", "0000:04:00.0"]);
        assert_eq!(
            (found.system.workers.clone(), found.system.memory_mb, found.system.hugepages),
            (vec![2, 3], 512, true)
        );
        assert_eq!(found.ports[1].1.interface.as_deref(), Some("eth1"));
        assert!(!kept.text.contains("segment") && !kept.text.contains("[client]"), "{}", kept.text);
        assert_eq!(kept.trunk.name, "trunk0");
        // What an option names is as it says.
        let mixed = made("--force --trunk lan7 --worker 5 --socket /run/a.sock", Some(&skeleton()));
        let found = sketch(&mixed);
        assert_eq!(devices(&found), ["0000:04:00.0", "lan7"]);
        assert_eq!((found.system.workers, found.system.socket.to_str()), (vec![5], Some("/run/a.sock")));
        let renamed = sketch(&made("--force --interface wan7", Some(&skeleton())));
        assert_eq!(renamed.ports[1].1.interface.as_deref(), Some("wan7"));
        // A file that is no TOML has nothing to keep.
        let new = sketch(&made("--force --trunk lan7 --uplink wan7", Some("workers = <here>")));
        assert_eq!((devices(&new), new.system.workers.clone()), (vec!["lan7", "wan7"], vec![0]));
    }

    #[test]
    fn nics_on_the_pci_bus_get_what_they_need() {
        let found = sketch(&made("--trunk 0000:03:00.0 --uplink 0000:04:00.0", None));
        assert_eq!(devices(&found), ["0000:03:00.0", "0000:04:00.0"]);
        assert!(found.system.hugepages);
        assert_eq!(found.ports[1].1.interface.as_deref(), Some("wan"), "it can be read, and is told");
        let named = made("--trunk 0000:03:00.0 --uplink 0000:04:00.0 --interface eth9", None);
        assert_eq!(sketch(&named).ports[1].1.interface.as_deref(), Some("eth9"));
        assert!(named.remarks.iter().any(|remark| remark.contains("eth9")), "{:?}", named.remarks);
        // Others have it in themselves.
        for device in ["eth0", "kernel:eth0", "af_packet:eth0", "net_af_xdp0,iface=eth0"] {
            let made = made(&format!("--trunk lan0 --uplink {device}"), None);
            assert_eq!(sketch(&made).ports[1].1.interface.as_deref(), Some("eth0"), "{device}");
            assert!(!made.text.contains("hugepages") && made.remarks.is_empty(), "{device}");
        }
    }

    #[test]
    fn an_interface_is_a_port_of_the_kernels() {
        assert_eq!(device_text("eth1"), "kernel:eth1");
        assert_eq!(device_text("0000:03:00.0"), "0000:03:00.0");
        assert_eq!(device_text("net_memif0,id=1"), "net_memif0,id=1");
    }
}
