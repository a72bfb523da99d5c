//! Sets a machine up by a plan, and puts back what was there.
//!
//! [`write`] only writes files; [`apply`] does what they say, now and at each boot; [`undo`] takes back both. What was there before is
//! kept in [`STATE`], written before anything is changed. Root does what that file says, so it lies where only root writes, and what it
//! says is checked all the same: files of ours, devices that are PCI addresses, numbers that we write to.

mod kernel;

use std::fs;
use std::io;
use std::path::Path;

use config::{Device, Role, Sketch, write_atomic};
use serde::{Deserialize, Serialize};

use crate::plan::UserSpace;
use crate::{Machine, Plan, Root};

/// What was there before, and what is to be. Not in /var/lib/causeway, which belongs to the service's user.
pub const STATE: &str = "var/lib/causeway-setup/setup.json";

/// The configuration that is begun, if there is none.
pub const CONFIG: &str = "etc/causeway/causeway.toml";

/// The unit that applies the plan at each boot, before the appliance starts.
pub const UNIT: &str = "etc/systemd/system/causeway-setup.service";

/// What enables the unit.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/causeway-setup.service";

/// What lets the appliance reach NICs that nothing confines.
pub(crate) const DROP_IN: &str = "etc/systemd/system/causeway.service.d/setup.conf";

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
    /// What was kept is not what we keep.
    #[error("/{STATE} names {0}, which is nothing that causeway setup changes: nothing was done")]
    Foreign(String),
    /// A NIC that would be bound is one that the configuration has from the kernel.
    #[error(
        "/{CONFIG}, line {line}: port {port:?} is {device}, which the kernel would have no more: nothing was written. {remedy}"
    )]
    InUse {
        /// Where the port stands.
        line: usize,
        /// Its name.
        port: String,
        /// Its device as it is.
        device: String,
        /// What to do.
        remedy: String,
    },
    /// A driver is not there.
    #[error(
        "{module} is not there: modprobe {module} says why (linux-image-amd64 has it, linux-image-cloud-amd64 may not); the NICs were left as they are"
    )]
    NoModule {
        /// Its name.
        module: &'static str,
    },
    /// The kernel took the writes and did nothing.
    #[error("{pci} cannot be bound to {driver} (dmesg says why); {now}")]
    NotBound {
        /// The device.
        pci: String,
        /// What it was to be bound to.
        driver: String,
        /// What has it now.
        now: String,
    },
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
/// The machine was set up before, its configuration has ports that the plan would take the NICs of, or a file cannot be written; what
/// was written by then can be undone.
pub fn write(root: &Root, plan: &Plan) -> Result<Vec<String>, Error> {
    if root.has(STATE) {
        return Err(Error::SetUpBefore);
    }
    must_not_be_in_use(root, plan)?;
    let mut files = Vec::new();
    if !root.has(CONFIG) {
        files.push((CONFIG, plan.skeleton()));
    }
    let modules = modules(plan);
    if !modules.is_empty() {
        files.push((MODULES, format!("# causeway setup\n{}\n", modules.join("\n"))));
    }
    // A NIC that stays with the kernel's driver needs no module, but pages all the same.
    if plan.is_for_each_boot() || !modules.is_empty() {
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
            // What is not there yet comes with its module, and is N then.
            .map(|file| (root.text(&file).unwrap_or_else(|| "N".into()), file))
            .map(|(number, file)| (file, number))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&state).map_err(Error::Garbled)?;
    create(root, STATE, &text, 0o600)?;
    let mut done = Vec::new();
    for (path, text) in files {
        create(root, path, &text, mode_of(path))?;
        done.push(format!("wrote /{path}"));
        if path == UNIT {
            link(root, ENABLED, "/etc/systemd/system/causeway-setup.service")?;
            done.push("enabled causeway-setup.service, which does it at each boot".into());
        }
    }
    if root.raw(CONFIG).is_some() && !state.files.iter().any(|file| file.path == CONFIG) {
        done.push(format!("left /{CONFIG} as it is"));
    }
    done.extend(reload_units(root, &state));
    Ok(done)
}

/// Does what the plan says: hugepages, and NICs bound to their drivers. To be done again at each boot.
///
/// # Errors
/// The machine was not set up, or the kernel refuses. A NIC that cannot be bound as planned has the driver that it had.
pub fn apply(root: &Root) -> Result<Vec<String>, Error> {
    let state = read(root)?;
    let mut done = Vec::new();
    // Before a NIC is taken from its driver: without the other it would be left with none.
    for module in modules(&state.plan) {
        kernel::load(root, module)?;
    }
    for pages in &state.plan.hugepages {
        let file = page_file(pages);
        // Others may have asked for more since.
        let there = root.number(&file).unwrap_or(0).max(0) as u64;
        poke(root, &file, &pages.pages.max(there).to_string())?;
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
        kernel::bind(root, &port.device, driver.name(), driver.name())?;
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
        kernel::bind(
            root,
            &before.pci,
            &before.driver_override,
            before.driver.as_deref().unwrap_or_default(),
        )?;
        done.push(format!("{} is bound to {}", before.pci, before.driver.as_deref().unwrap_or("no driver")));
    }
    for (file, number) in &state.numbers {
        // Gone with its module.
        if !root.has(file) {
            continue;
        }
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
            Some(before) => create(root, &file.path, before, mode_of(&file.path))?,
            None => remove(root, &file.path)?,
        }
        done.push(format!("{} /{}", if file.before.is_some() { "restored" } else { "removed" }, file.path));
    }
    remove(root, STATE)?;
    done.extend(reload_units(root, &state));
    Ok(done)
}

/// Refuses a plan that takes a NIC from the kernel which the configuration that is there has from it: at the next start the appliance
/// would not find the port.
fn must_not_be_in_use(root: &Root, plan: &Plan) -> Result<(), Error> {
    let text = root.raw(CONFIG).unwrap_or_default();
    let Some(sketch) = Sketch::of(&root.path(CONFIG), &text) else { return Ok(()) };
    let machine = Machine::look(root);
    for planned in plan.ports.iter().filter(|port| port.bind.is_some()) {
        let Some(nic) = machine.nic(&planned.device) else { continue };
        for (line, port) in &sketch.ports {
            let (kind, interface) = match &port.device {
                Device::Kernel(interface) => ("kernel", interface),
                Device::AfPacket(interface) => ("af_packet", interface),
                Device::Pci(_) | Device::Vdev(_) => continue,
            };
            if nic.interface.as_ref() != Some(interface) && !nic.upper.contains(interface) {
                continue;
            }
            let of_uplink = if port.role == Role::Uplink {
                format!(", interface = {interface:?}")
            } else {
                String::new()
            };
            return Err(Error::InUse {
                line: *line,
                port: port.name.clone(),
                device: format!("{kind}:{interface}"),
                remedy: format!(
                    "Make it device = \"{}\"{of_uplink} and set [system] hugepages = true, or leave it to the kernel with --bind kernel",
                    planned.device
                ),
            });
        }
    }
    Ok(())
}

/// Tells systemd of units that were written or removed: a drop-in of a unit that it has loaded is not seen otherwise.
fn reload_units(root: &Root, state: &State) -> Option<String> {
    if !state.files.iter().any(|file| [UNIT, DROP_IN].contains(&file.path.as_str())) {
        return None;
    }
    let error = root.reload_units().err()?;
    Some(format!("systemd does not know of it yet ({error}): systemctl daemon-reload"))
}

const UNIT_TEXT: &str = "\
# Written by `causeway setup --write`; `causeway setup --undo` removes it.
[Unit]
Description=Hugepages and NIC bindings of Causeway
Documentation=man:causeway-setup(1)
DefaultDependencies=no
After=systemd-modules-load.service local-fs.target
# Of a package that was removed without `causeway setup --undo`.
ConditionPathExists=/usr/bin/causeway
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
# drives it has to know physical addresses: that takes root. The group stays: what the service wrote without this is the group's, too.
[Service]
User=root
Group=causeway
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
    let confined = |pci: &str| {
        let group = root.link(&format!("sys/bus/pci/devices/{pci}/iommu_group"));
        group.is_some_and(|group| crate::iommu::is_real(root, &group))
    };
    plan.ports.iter().any(|port| port.bind == Some(UserSpace::VfioPci) && !confined(&port.device))
}

fn page_file(pages: &crate::plan::Pages) -> String {
    crate::hugepages::Pool { node: pages.node, page_kb: pages.page_kb, pages: 0, free: 0 }.file()
}

fn read(root: &Root) -> Result<State, Error> {
    let text = root.raw(STATE).ok_or(Error::NotSetUp)?;
    let state: State = serde_json::from_str(&text).map_err(Error::Garbled)?;
    match state.foreign() {
        Some(what) => Err(Error::Foreign(what)),
        None => Ok(state),
    }
}

impl State {
    /// What it names that [`write`] would not have put there.
    fn foreign(&self) -> Option<String> {
        let files = self.files.iter().map(|file| &file.path);
        let file = files.into_iter().find(|path| ![CONFIG, MODULES, UNIT, DROP_IN].contains(&path.as_str()));
        let planned = self.plan.ports.iter().filter(|port| port.bind.is_some()).map(|port| &port.device);
        let mut devices = planned.chain(self.drivers.iter().map(|before| &before.pci));
        let device = devices.find(|device| !kernel::is_pci_address(device));
        let mut drivers =
            self.drivers.iter().flat_map(|before| before.driver.iter().chain([&before.driver_override]));
        let driver = drivers.find(|name| name.contains(['/', '\n']) || name.as_str() == "..");
        let mut numbers = self.numbers.iter().map(|(file, _)| file);
        let number = numbers.find(|file| {
            *file != UNSAFE_VFIO && !self.plan.hugepages.iter().any(|pages| page_file(pages) == **file)
        });
        file.or(device).or(driver).or(number).cloned()
    }
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

/// Of a new file of ours. The configuration is the operator's, and is to hold a password.
fn mode_of(path: &str) -> u32 {
    if path == CONFIG { 0o600 } else { 0o644 }
}

/// Writes a file that is whole or not there, also when the machine stops meanwhile.
fn create(root: &Root, inside: &str, text: &str, mode: u32) -> Result<(), Error> {
    let path = root.path(inside);
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)
        .and_then(|()| write_atomic(&path, text.as_bytes(), mode))
        .map_err(failed(inside))
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
