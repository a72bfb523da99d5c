//! Whether a segment's gateway is what the configuration says: somebody may have set its interface down since, or taken an address
//! away. It asks the kernel for all addresses, so that it is for tests and not for the watch.

use std::net::IpAddr;

use bridge::SegmentIndex;
use config::Gateway;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::findings::{Finding, Severity};
use crate::show::Shown;

/// An interface, as the kernel knows it.
#[derive(Debug, Default)]
struct Interface {
    up: bool,
    addresses: Vec<IpAddr>,
}

/// What is wrong with the gateway of a segment, if it has one.
pub(super) fn gateway(shown: &Shown<'_>, index: SegmentIndex) -> Option<Finding> {
    let segment = shown.layout.segment(index).filter(|segment| segment.enabled)?;
    let gateway = segment.gateway.as_ref()?;
    let started = shown.gateways.iter().any(|running| running.segment == index);
    judge(gateway, started, look(&gateway.interface).as_ref())
}

/// `None`: there is none of this name.
fn look(name: &str) -> Option<Interface> {
    let mut found = None;
    for entry in getifaddrs().ok()?.filter(|entry| entry.interface_name == name) {
        let interface = found.get_or_insert_with(Interface::default);
        interface.up = entry.flags.contains(InterfaceFlags::IFF_UP);
        interface.addresses.extend(entry.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
        }));
    }
    found
}

fn judge(gateway: &Gateway, started: bool, interface: Option<&Interface>) -> Option<Finding> {
    let name = gateway.interface.as_str();
    let down =
        |text: String, advice: String| Some(Finding::new("gateway_down", Severity::Error, text, advice));
    let Some(interface) = interface.filter(|_| started) else {
        return down(
            format!("the gateway's interface {name} is not there, so that hosts have no gateway at this site"),
            "the log says why it could not be made (show log level error); reload tries again, and so does a start if \
             somebody removed it"
                .into(),
        );
    };
    if !interface.up {
        return down(
            format!("the gateway's interface {name} is set down, so that hosts have no gateway at this site"),
            format!("ip link set {name} up, and find who set it down: the appliance set it up"),
        );
    }
    let missing = gateway.addresses.iter().filter(|address| !interface.addresses.contains(&address.addr()));
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    let address = missing.first()?;
    down(
        format!("the gateway's interface {name} lacks {}", missing.join(", ")),
        format!("ip address add {address} dev {name}, and find who removed it: the appliance added it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> Gateway {
        let text = "mode = \"client\"\n[[port]]\nname = \"t\"\nrole = \"trunk\"\ndevice = \"kernel:eth1\"\n\
            [[port]]\nname = \"wan\"\nrole = \"uplink\"\ndevice = \"kernel:eth0\"\n\
            [[segment]]\nname = \"servers\"\ntunnel_id = 10\n\
            gateway = { addresses = [\"10.1.0.1/24\", \"fd00::1/64\"] }\n\
            [client]\nserver = \"a\"\nuser = \"b\"\npassword = \"c\"\nfingerprint = \"FF\"\n"
            .replace("FF", &"00".repeat(32));
        let config = config::Config::parse(std::path::Path::new("a.toml"), &text).expect("good");
        config.segments[0].gateway.clone().expect("one")
    }

    #[test]
    fn an_interface_that_is_missing_down_or_without_its_addresses_is_told() {
        let interface = |up, addresses: &[&str]| Interface {
            up,
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        };
        let told = |started, interface: Option<Interface>| {
            judge(&configured(), started, interface.as_ref()).map(|finding| (finding.code, finding.text))
        };
        let all = ["10.1.0.1", "fd00::1", "fe80::1"];
        assert_eq!(told(true, Some(interface(true, &all))), None);
        for (started, found, part) in [
            (true, None, "cw10 is not there"),
            (false, Some(interface(true, &all)), "cw10 is not there"),
            (true, Some(interface(false, &all)), "cw10 is set down"),
            (true, Some(interface(true, &all[..1])), "cw10 lacks fd00::1/64"),
            (true, Some(interface(true, &all[2..])), "cw10 lacks 10.1.0.1/24, fd00::1/64"),
        ] {
            let (code, text) = told(started, found).expect("something is wrong");
            assert!(code == "gateway_down" && text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_kernel_s_own_interface_is_seen() {
        let lo = look("lo").expect("every machine has one");
        assert!(!lo.up || lo.addresses.iter().any(IpAddr::is_loopback), "{lo:?}");
        assert!(look("no-such-one").is_none());
    }
}
