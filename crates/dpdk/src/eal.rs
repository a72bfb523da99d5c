//! DPDK's environment: started once for the process.

use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Port, vdev};

static STARTED: AtomicBool = AtomicBool::new(false);

/// What the EAL starts with.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Whether packet memory comes from hugepages. Without, it is ordinary memory, which costs TLB misses and
    /// works everywhere for virtual devices.
    pub hugepages: bool,
    /// Memory for packets in MiB.
    pub memory_mb: u32,
    /// PCI addresses of the devices that the EAL may take; all others are left alone.
    pub pci: Vec<String>,
}

/// The running EAL. It is never taken down before the process ends: packets and pools may outlive any owner.
#[derive(Debug)]
pub struct Eal {
    _private: (),
}

impl Eal {
    /// Starts the EAL. To be called on the main thread, whose affinity is kept.
    ///
    /// # Errors
    /// It was started before, or DPDK refuses; it writes the details to stderr.
    pub fn init(config: &EalConfig) -> Result<Self, Error> {
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyStarted);
        }
        let arguments = arguments(config);
        let owned: Vec<CString> = arguments.iter().map(|text| c_string(text)).collect::<Result<_, _>>()?;
        let mut pointers: Vec<*mut c_char> = owned.iter().map(|text| text.as_ptr().cast_mut()).collect();
        pointers.push(std::ptr::null_mut());
        // SAFETY: argc strings, NUL-terminated, that live through the call. DPDK may reorder the pointers and does
        // not write to the strings. STARTED lets this happen once.
        let taken = unsafe { dpdk_sys::rte_eal_init(owned.len() as i32, pointers.as_mut_ptr()) };
        // The EAL keeps pointers to some of its arguments.
        std::mem::forget(owned);
        if taken < 0 {
            return Err(Error::errno(format!("cannot start DPDK with \"{}\"", arguments[1..].join(" "))));
        }
        Ok(Self { _private: () })
    }

    /// Opens a device: a PCI address that [`EalConfig::pci`] names, or a virtual device such as
    /// `net_af_packet0,iface=eth1`, which is created now.
    ///
    /// # Errors
    /// There is no such device, or its driver refuses its arguments.
    pub fn open(&self, device: &str) -> Result<Port, Error> {
        if is_pci(device) {
            return Port::find(device);
        }
        let (name, arguments) = vdev::split(device)?;
        let (bus, c_name, c_arguments) = (c_string("vdev")?, c_string(name)?, c_string(arguments)?);
        // SAFETY: three strings that live through the call; DPDK copies them.
        let code =
            unsafe { dpdk_sys::rte_eal_hotplug_add(bus.as_ptr(), c_name.as_ptr(), c_arguments.as_ptr()) };
        if code < 0 {
            return Err(Error::code(format!("cannot create the device {device}"), code));
        }
        Port::find(name)
    }
}

/// Whether a device is named by a PCI address: `0000:03:00.0` or `03:00.0`.
pub(crate) fn is_pci(device: &str) -> bool {
    let hex = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
    let Some((bus, function)) = device.rsplit_once('.') else { return false };
    let parts: Vec<&str> = bus.split(':').collect();
    hex(function) && (2..=3).contains(&parts.len()) && parts.into_iter().all(hex)
}

fn arguments(config: &EalConfig) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut arguments: Vec<String> = ["causeway", "--no-telemetry", "--log-level=*:warning", "--in-memory"]
        .into_iter()
        .map(Into::into)
        .collect();
    // The main thread floats over all cores: the workers are pinned by us.
    arguments.push(format!("--lcores=0@(0-{})", cores - 1));
    arguments.push(format!("-m{}", config.memory_mb));
    if config.hugepages {
        arguments.push("--single-file-segments".into());
    } else {
        // DPDK 22.11 refuses --no-huge together with --in-memory.
        arguments.retain(|argument| argument != "--in-memory");
        arguments.extend(["--no-huge".into(), "--no-shconf".into()]);
    }
    if config.pci.is_empty() {
        arguments.push("--no-pci".into());
    }
    arguments.extend(config.pci.iter().map(|address| format!("--allow={address}")));
    arguments
}

pub(crate) fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Nul(text.into()))
}

/// A thread known to DPDK, which gives it a mempool cache. Ends when dropped, on the same thread.
#[derive(Debug)]
pub struct ThreadRegistration {
    /// Not `Send`: it belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl ThreadRegistration {
    /// Registers the calling thread.
    ///
    /// # Errors
    /// DPDK has no lcore ID left, or the EAL has not been started.
    pub fn register() -> Result<Self, Error> {
        // SAFETY: has no precondition; it fails before the EAL is started.
        match unsafe { dpdk_sys::rte_thread_register() } {
            0.. => Ok(Self { _thread: PhantomData }),
            _ => Err(Error::errno("cannot register a thread with DPDK")),
        }
    }
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // SAFETY: this thread was registered, and is the one that runs this.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart() {
        assert!(is_pci("0000:03:00.0") && is_pci("03:00.1") && is_pci("0000:af:1f.7"));
        assert!(!is_pci("net_ring0") && !is_pci("net_af_packet0,iface=eth0.10") && !is_pci("eth0"));
    }

    #[test]
    fn without_hugepages_nothing_is_shared_and_nothing_is_in_memory() {
        let config = EalConfig { hugepages: false, memory_mb: 64, pci: vec![] };
        let text = arguments(&config).join(" ");
        assert!(text.contains("--no-huge --no-shconf --no-pci") && !text.contains("--in-memory"), "{text}");
        let config = EalConfig { hugepages: true, memory_mb: 64, pci: vec!["0000:03:00.0".into()] };
        let text = arguments(&config).join(" ");
        assert!(text.contains("--in-memory") && text.contains("--allow=0000:03:00.0"), "{text}");
        assert!(!text.contains("--no-pci"), "{text}");
    }
}
