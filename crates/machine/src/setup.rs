//! Sets a machine up by a plan, and puts back what was there.
//!
//! [`write`] only writes files; [`apply`] does what they say, now and at each boot; [`undo`] takes back both. What was there before is
//! kept in [`STATE`], written before anything is changed.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::nic::USER_SPACE_DRIVERS;
use crate::plan::UserSpace;
use crate::{Plan, Root};

/// What was there before, and what is to be.
pub const STATE: &str = "var/lib/causeway/setup.json";

/// The configuration that is begun, if there is none.
pub const CONFIG: &str = "etc/causeway/causeway.toml";

/// The unit that applies the plan at each boot, before the appliance starts.
pub const UNIT: &str = "etc/systemd/system/causeway-setup.service";

/// What enables the unit.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/causeway-setup.service";

/// What lets the appliance reach NICs that nothing confines.
const DROP_IN: &str = "etc/systemd/system/causeway.service.d/setup.conf";

const MODULES: &str = "etc/modules-load.d/causeway.conf";

/// Whether vfio-pci may be used without an IOMMU.
const UNSAFE_VFIO: &str = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has set it up before.
    #[error("this machine was set up before: causeway setup --undo first, or --apply to do it again")]
    SetUpBefore,
    /// There is nothing to apply or undo.
    #[error("this machine was not set up by causeway setup --write")]
    NotSetUp,
    /// What was kept cannot be read.
    #[error("/{STATE} cannot be understood: {0}")]
    Garbled(serde_json::Error),
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// What is the matter.
        error: io::Error,
    },
}

/// What [`STATE`] has.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    plan: Plan,
    /// Files that were written, with what is in them.
    files: Vec<Written>,
    /// NICs as they were before they were bound.
    drivers: Vec<Before>,
    /// Files of the kernel and the numbers that were in them.
    numbers: Vec<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    path: String,
    /// What is in it now.
    text: String,
    /// What was in it; `None` when it was not there.
    before: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Before {
    pci: String,
    driver: Option<String>,
    driver_override: String,
}

/// Writes the files that set the machine up, and what is needed to undo it. Returns what was done, a line each.
///
/// # Errors
/// The machine was set up before, or a file cannot be written; what was written by then can be undone.
pub fn write(root: &Root, plan: &Plan) -> Result<Vec<String>, Error> {
    if root.has(STATE) {
        return Err(Error::SetUpBefore);
    }
    let mut files = Vec::new();
    if !root.has(CONFIG) {
        files.push((CONFIG, plan.skeleton()));
    }
    let modules = modules(plan);
    if !modules.is_empty() {
        files.push((MODULES, format!("# causeway setup\n{}\n", modules.join("\n"))));
        files.push((UNIT, UNIT_TEXT.into()));
    }
    let is_unconfined = plan_uses(plan, UserSpace::UioPciGeneric) || uses_unsafe_vfio(root, plan);
    if is_unconfined {
        files.push((DROP_IN, DROP_IN_TEXT.into()));
    }
    let bound: Vec<&String> =
        plan.ports.iter().filter(|port| port.bind.is_some()).map(|port| &port.device).collect();
    let device = |pci: &str| format!("sys/bus/pci/devices/{pci}");
    let state = State {
        plan: plan.clone(),
        files: files
            .iter()
            .map(|(path, text)| Written { path: (*path).into(), text: text.clone(), before: root.raw(path) })
            .collect(),
        drivers: bound
            .iter()
            .map(|pci| Before {
                pci: (*pci).clone(),
                driver: root.link(&format!("{}/driver", device(pci))),
                driver_override: root.text(&format!("{}/driver_override", device(pci))).unwrap_or_default(),
            })
            .collect(),
        numbers: plan
            .hugepages
            .iter()
            .map(page_file)
            .chain(uses_unsafe_vfio(root, plan).then(|| UNSAFE_VFIO.into()))
            .filter_map(|file| Some((file.clone(), root.text(&file)?)))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&state).map_err(Error::Garbled)?;
    create(root, STATE, &text)?;
    let mut done = Vec::new();
    for (path, text) in files {
        create(root, path, &text)?;
        done.push(format!("wrote /{path}"));
        if path == UNIT {
            link(root, ENABLED, "/etc/systemd/system/causeway-setup.service")?;
            done.push("enabled causeway-setup.service, which does it at each boot".into());
        }
    }
    if root.raw(CONFIG).is_some() && !state.files.iter().any(|file| file.path == CONFIG) {
        done.push(format!("left /{CONFIG} as it is"));
    }
    Ok(done)
}

/// Does what the plan says: hugepages, and NICs bound to their drivers. To be done again at each boot.
///
/// # Errors
/// The machine was not set up, or the kernel refuses.
pub fn apply(root: &Root) -> Result<Vec<String>, Error> {
    let state = read(root)?;
    let mut done = Vec::new();
    for pages in &state.plan.hugepages {
        let file = page_file(pages);
        poke(root, &file, &pages.pages.to_string())?;
        let got = root.number(&file).unwrap_or(0);
        done.push(format!("node {}: {got} hugepages of {} KiB", pages.node, pages.page_kb));
        if got < pages.pages as i64 {
            done.push(format!("  {} were asked for: memory is in pieces, reserve them at boot", pages.pages));
        }
    }
    if uses_unsafe_vfio(root, &state.plan) {
        poke(root, UNSAFE_VFIO, "Y")?;
        done.push("vfio-pci without IOMMU: enabled, the NICs can write anywhere".into());
    }
    for port in &state.plan.ports {
        let Some(driver) = port.bind else { continue };
        bind(root, &port.device, Some(driver.name()), driver.name())?;
        done.push(format!("{} is bound to {}", port.device, driver.name()));
    }
    Ok(done)
}

/// Puts everything back as it was: drivers, hugepages, files. A file that was changed since it was written is left, and told.
///
/// # Errors
/// The machine was not set up, or something cannot be put back; what is left can be tried again.
pub fn undo(root: &Root) -> Result<Vec<String>, Error> {
    let state = read(root)?;
    let mut done = Vec::new();
    for before in &state.drivers {
        if !root.has(&format!("sys/bus/pci/devices/{}", before.pci)) {
            done.push(format!("{} is gone", before.pci));
            continue;
        }
        let own = (!before.driver_override.is_empty() && before.driver_override != "(null)")
            .then_some(before.driver_override.as_str());
        bind(root, &before.pci, own, before.driver.as_deref().unwrap_or_default())?;
        done.push(format!("{} is bound to {}", before.pci, before.driver.as_deref().unwrap_or("no driver")));
    }
    for (file, number) in &state.numbers {
        poke(root, file, number)?;
        done.push(format!("/{file} is {number}"));
    }
    if state.files.iter().any(|file| file.path == UNIT) {
        remove(root, ENABLED)?;
    }
    for file in &state.files {
        let now = root.raw(&file.path);
        if now.as_ref() != Some(&file.text) && now.is_some() {
            done.push(format!("left /{}: it was changed since", file.path));
            continue;
        }
        match &file.before {
            Some(before) => create(root, &file.path, before)?,
            None => remove(root, &file.path)?,
        }
        done.push(format!("{} /{}", if file.before.is_some() { "restored" } else { "removed" }, file.path));
    }
    remove(root, STATE)?;
    Ok(done)
}

const UNIT_TEXT: &str = "\
# Written by `causeway setup --write`; `causeway setup --undo` removes it.
[Unit]
Description=Hugepages and NIC bindings of Causeway
Documentation=man:causeway-setup(1)
DefaultDependencies=no
After=systemd-modules-load.service local-fs.target
Before=network-pre.target causeway.service
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/causeway setup --apply

[Install]
WantedBy=multi-user.target
";

const DROP_IN_TEXT: &str = "\
# Written by `causeway setup --write`; `causeway setup --undo` removes it. A NIC without an IOMMU reaches all memory, and whoever
# drives it has to know physical addresses: that takes root.
[Service]
User=root
Group=root
AmbientCapabilities=
CapabilityBoundingSet=
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_IPC_LOCK CAP_SYS_NICE CAP_SYS_RAWIO CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_SETPCAP
";

/// Modules that the plan needs at boot.
fn modules(plan: &Plan) -> Vec<&'static str> {
    let mut modules = Vec::new();
    for driver in [UserSpace::VfioPci, UserSpace::UioPciGeneric] {
        if plan_uses(plan, driver) {
            modules.push(driver.name());
        }
    }
    if plan.ports.iter().any(|port| !port.device.starts_with("kernel:") && port.interface.is_some()) {
        modules.push("tun");
    }
    modules
}

fn plan_uses(plan: &Plan, driver: UserSpace) -> bool {
    plan.ports.iter().any(|port| port.bind == Some(driver))
}

fn uses_unsafe_vfio(root: &Root, plan: &Plan) -> bool {
    plan_uses(plan, UserSpace::VfioPci) && root.list("sys/kernel/iommu_groups").is_empty()
}

fn page_file(pages: &crate::plan::Pages) -> String {
    crate::hugepages::Pool { node: pages.node, page_kb: pages.page_kb, pages: 0, free: 0 }.file()
}

/// Binds a PCI device to `driver` (none when empty), with `driver_override` as it is to be afterwards.
fn bind(root: &Root, pci: &str, driver_override: Option<&str>, driver: &str) -> Result<(), Error> {
    let device = format!("sys/bus/pci/devices/{pci}");
    // An empty line takes the override away.
    poke(root, &format!("{device}/driver_override"), &format!("{}\n", driver_override.unwrap_or_default()))?;
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

fn read(root: &Root) -> Result<State, Error> {
    let text = root.raw(STATE).ok_or(Error::NotSetUp)?;
    serde_json::from_str(&text).map_err(Error::Garbled)
}

impl Root {
    /// A file's text as it is.
    fn raw(&self, inside: &str) -> Option<String> {
        fs::read_to_string(self.path(inside)).ok()
    }
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::File { path: format!("/{path}"), error }
}

fn poke(root: &Root, file: &str, text: &str) -> Result<(), Error> {
    root.poke(file, text).map_err(failed(file))
}

/// Writes a file that is whole or not there, also when the machine stops meanwhile.
fn create(root: &Root, inside: &str, text: &str) -> Result<(), Error> {
    let path = root.path(inside);
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(failed(inside))
}

fn link(root: &Root, inside: &str, target: &str) -> Result<(), Error> {
    let path = root.path(inside);
    let make = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::os::unix::fs::symlink(target, &path)
    };
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(failed(inside)),
    }
}

fn remove(root: &Root, inside: &str) -> Result<(), Error> {
    match fs::remove_file(root.path(inside)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(inside)(error)),
        _ => Ok(()),
    }
}
