//! What DPDK refuses, in words.

use std::ffi::CStr;

/// Why DPDK did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The EAL is a thing of the process, and it was started before.
    #[error("DPDK's EAL was started before in this process")]
    AlreadyStarted,
    /// A text that goes to DPDK has a NUL in it.
    #[error("{0:?} has a NUL character in it")]
    Nul(String),
    /// A name that is neither a PCI address nor a virtual device.
    #[error("{0:?} is neither a PCI address (0000:03:00.0) nor a DPDK virtual device (net_...)")]
    UnknownDevice(String),
    /// A PCI device that is not there for DPDK.
    #[error("there is no DPDK port {0}: is the device there, and bound to vfio-pci or uio_pci_generic?")]
    NoSuchPort(String),
    /// A call failed.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried, and with what.
        what: String,
        /// What DPDK says.
        reason: String,
    },
    /// A port is asked for what it cannot.
    #[error("port {port}: {reason}")]
    Unsuitable {
        /// The port's device name.
        port: String,
        /// What it cannot.
        reason: String,
    },
}

impl Error {
    /// A call that returned the negative errno `code`.
    pub(crate) fn code(what: impl Into<String>, code: i32) -> Self {
        Self::Failed { what: what.into(), reason: describe(code.abs()) }
    }

    /// A call that left its errno with the thread.
    pub(crate) fn errno(what: impl Into<String>) -> Self {
        // SAFETY: reads a variable of this thread.
        Self::code(what, unsafe { dpdk_sys::shim_errno() })
    }
}

fn describe(errno: i32) -> String {
    // SAFETY: rte_strerror returns a string of static or thread-local storage, copied before the next call.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) };
    text.to_string_lossy().into_owned()
}
