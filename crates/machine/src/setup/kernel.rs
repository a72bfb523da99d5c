//! Modules, and the drivers that devices are bound to.

use std::process::Command;

use super::{Error, poke};
use crate::Root;
use crate::nic::USER_SPACE_DRIVERS;

/// Whether it is the address of a PCI function as sysfs writes it: `0000:03:00.0`.
pub(super) fn is_pci_address(text: &str) -> bool {
    let is_hex = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_hexdigit())
    };
    let parts = || {
        let (rest, function) = text.rsplit_once('.')?;
        let (rest, device) = rest.rsplit_once(':')?;
        let (domain, bus) = rest.split_once(':')?;
        Some((domain, bus, device, function))
    };
    // A domain has four digits, or more where a hypervisor numbers them so.
    parts().is_some_and(|(domain, bus, device, function)| {
        is_hex(domain, &[4, 5, 8]) && is_hex(bus, &[2]) && is_hex(device, &[2]) && is_hex(function, &[1])
    })
}

/// Loads a module, unless it is there: loaded, or part of the kernel.
pub(super) fn load(root: &Root, module: &'static str) -> Result<(), Error> {
    let sign = match module {
        "tun" => "sys/class/misc/tun".into(),
        driver => format!("sys/bus/pci/drivers/{driver}"),
    };
    if !root.has(&sign) && root.is_real() {
        // Whether it was of use is seen below; what it has to say is on standard error.
        let _ = Command::new("modprobe").arg(module).status();
    }
    if root.has(&sign) { Ok(()) } else { Err(Error::NoModule { module }) }
}

/// Binds a PCI device to `driver` (none when empty), with `driver_override` as it is to be afterwards (none: empty or `(null)`). If the
/// kernel does not do it, the device gets back what it had.
pub(super) fn bind(root: &Root, pci: &str, driver_override: &str, driver: &str) -> Result<(), Error> {
    let device = format!("sys/bus/pci/devices/{pci}");
    let had = root.link(&format!("{device}/driver"));
    let had_override = root.text(&format!("{device}/driver_override")).unwrap_or_default();
    let bound = rebind(root, pci, driver_override, driver);
    let now = root.link(&format!("{device}/driver"));
    if bound.is_ok() && now.as_deref().unwrap_or_default() == driver {
        return Ok(());
    }
    // The first error is the one to tell.
    let _ = rebind(root, pci, &had_override, had.as_deref().unwrap_or_default());
    bound?;
    let now = match root.link(&format!("{device}/driver")) {
        Some(now) => format!("it is bound to {now}, as before"),
        None => "it has no driver".into(),
    };
    Err(Error::NotBound {
        pci: pci.into(),
        driver: if driver.is_empty() { "no driver".into() } else { driver.into() },
        now,
    })
}

fn rebind(root: &Root, pci: &str, driver_override: &str, driver: &str) -> Result<(), Error> {
    let device = format!("sys/bus/pci/devices/{pci}");
    // An empty line takes the override away.
    let own = if driver_override == "(null)" { "" } else { driver_override };
    poke(root, &format!("{device}/driver_override"), &format!("{own}\n"))?;
    if root.link(&format!("{device}/driver")).as_deref() == Some(driver) {
        return Ok(());
    }
    if root.has(&format!("{device}/driver")) {
        poke(root, &format!("{device}/driver/unbind"), pci)?;
    }
    if driver.is_empty() {
        return Ok(());
    }
    if USER_SPACE_DRIVERS.contains(&driver) {
        return poke(root, "sys/bus/pci/drivers_probe", pci);
    }
    poke(root, &format!("sys/bus/pci/drivers/{driver}/bind"), pci)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_devices_are_no_paths() {
        for good in ["0000:03:00.0", "10000:e1:00.1", "c2d70002:00:02.0"] {
            assert!(is_pci_address(good), "{good}");
        }
        for bad in ["", "03:00.0", "../../../etc", "0000:03:00.0/..", "0000.03:00:0", "0000:03:00.0\n"] {
            assert!(!is_pci_address(bad), "{bad:?}");
        }
    }
}
