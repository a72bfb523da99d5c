//! NICs and the Linux interfaces on them.

use serde::Serialize;

use crate::Root;
use crate::nic_names::{self, Kind};

/// A NIC, a Linux interface, or both.
#[derive(Clone, Debug, Serialize)]
pub struct Nic {
    /// The PCI address, for a PCI device.
    pub pci: Option<String>,
    /// The Linux interface, while the kernel has it.
    pub interface: Option<String>,
    /// Vendor and device number, `8086:1572`, of a PCI device.
    pub id: Option<String>,
    /// What it is, as far as we know it.
    pub model: String,
    /// The driver that it is bound to, the kernel's or one for user space.
    pub driver: Option<String>,
    /// The appliance's own driver for it, if it has one.
    pub dpdk: Option<&'static str>,
    /// The NUMA node that it is on.
    pub node: Option<usize>,
    /// The group of an IOMMU that it is in.
    pub iommu_group: Option<String>,
    /// Other devices of that group that drivers of the kernel have: as long as they do, vfio-pci gives the NIC to nobody.
    pub group_shared_with: Vec<String>,
    /// The address that its maker gave it.
    pub mac: Option<String>,
    /// Octets of a frame after its Ethernet header.
    pub mtu: Option<i64>,
    /// Whether the interface is set up (not the same as having a link).
    pub is_up: bool,
    /// Whether there is a link.
    pub has_link: bool,
    /// Mbit/s of the link, where it is known.
    pub mbps: Option<i64>,
    /// The bridge or bond that the interface is part of.
    pub master: Option<String>,
    /// Interfaces that lie on this one, as VLANs do. They go where it goes.
    pub upper: Vec<String>,
    /// Whether the NIC is a virtual function of another (SR-IOV).
    pub is_virtual_function: bool,
    /// Whether the kernel has a default route over the interface.
    pub has_default_route: bool,
    /// Whether the interface has an IPv4 or a global IPv6 address.
    pub has_address: bool,
}

/// Drivers that give a device to a program.
pub const USER_SPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

impl Nic {
    /// The name that people know it by: interface, or else PCI address.
    pub fn name(&self) -> &str {
        self.interface.as_deref().or(self.pci.as_deref()).unwrap_or("?")
    }

    /// Whether a program in user space has it.
    pub fn is_bound_for_user_space(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| USER_SPACE_DRIVERS.contains(&driver))
    }

    /// Whether it works only together with the kernel's driver, to which it stays bound (mlx5).
    pub fn stays_with_the_kernel(&self) -> bool {
        self.dpdk == Some("mlx5")
    }

    /// What somebody uses it for, in a word or two; `None`: nobody does, as far as one can see.
    pub fn used_by(&self) -> Option<String> {
        match (&self.master, self.upper.is_empty()) {
            (Some(master), _) => Some(master.clone()),
            (None, false) => Some(self.upper.join(", ")),
            _ if self.has_default_route => Some("default route".into()),
            _ => self.has_address.then(|| "address".into()),
        }
    }
}

/// All of them: PCI devices of the class "Ethernet" first, then other interfaces but loopback.
pub(crate) fn find(root: &Root) -> Vec<Nic> {
    let addresses = Addresses::read(root);
    let mut nics = Vec::new();
    for pci in root.list("sys/bus/pci/devices") {
        let device = format!("sys/bus/pci/devices/{pci}");
        if root.number(&format!("{device}/class")).is_some_and(|class| class >> 8 == 0x0200) {
            nics.push(pci_nic(root, &pci, &addresses));
        }
    }
    for interface in root.list("sys/class/net") {
        let known = nics.iter().any(|nic| nic.interface.as_deref() == Some(&interface));
        let is_loopback = root.number(&format!("sys/class/net/{interface}/type")) == Some(772);
        let is_file = !root.path(&format!("sys/class/net/{interface}")).is_dir();
        if !known && !is_loopback && !is_file {
            let model = match kind_of_interface(root, &interface) {
                Some(kind) => kind,
                None => "virtual interface".into(),
            };
            let mut nic = empty(model);
            nic.driver = root.link(&format!("sys/class/net/{interface}/device/driver"));
            fill_interface(root, &mut nic, interface, &addresses);
            nics.push(nic);
        }
    }
    nics
}

fn pci_nic(root: &Root, pci: &str, addresses: &Addresses) -> Nic {
    let device = format!("sys/bus/pci/devices/{pci}");
    let number = |file: &str| root.number(&format!("{device}/{file}")).unwrap_or(0) as u32;
    let (vendor, product) = (number("vendor"), number("device"));
    let Kind { model, driver } = nic_names::of(vendor, product);
    let mut nic = empty(model);
    nic.pci = Some(pci.into());
    nic.id = Some(format!("{vendor:04x}:{product:04x}"));
    nic.dpdk = driver;
    nic.driver = root.link(&format!("{device}/driver"));
    nic.node =
        root.number(&format!("{device}/numa_node")).filter(|node| *node >= 0).map(|node| node as usize);
    nic.iommu_group =
        root.link(&format!("{device}/iommu_group")).filter(|group| crate::iommu::is_real(root, group));
    nic.group_shared_with = nic.iommu_group.iter().flat_map(|group| kernels_devices(root, group)).collect();
    nic.group_shared_with.retain(|other| other != pci);
    nic.is_virtual_function = root.has(&format!("{device}/physfn"));
    // virtio's interfaces are one level below, on the virtio bus.
    let mut places = vec![format!("{device}/net")];
    places.extend(
        root.list(&device)
            .iter()
            .filter(|name| name.starts_with("virtio"))
            .map(|name| format!("{device}/{name}/net")),
    );
    if let Some(interface) = places.iter().find_map(|place| root.list(place).into_iter().next()) {
        fill_interface(root, &mut nic, interface, addresses);
    }
    nic
}

/// Devices of an IOMMU group that belong to the kernel in a way that vfio minds: those without a driver and bridges it does not.
fn kernels_devices(root: &Root, group: &str) -> Vec<String> {
    let mut devices = crate::iommu::members(root, group);
    devices.retain(|device| {
        let driver = root.link(&format!("sys/bus/pci/devices/{device}/driver"));
        driver.is_some_and(|driver| !["vfio-pci", "pci-stub", "pcieport"].contains(&driver.as_str()))
    });
    devices
}

fn empty(model: String) -> Nic {
    Nic {
        pci: None,
        interface: None,
        id: None,
        model,
        driver: None,
        dpdk: None,
        node: None,
        iommu_group: None,
        group_shared_with: Vec::new(),
        mac: None,
        mtu: None,
        is_up: false,
        has_link: false,
        mbps: None,
        master: None,
        upper: Vec::new(),
        is_virtual_function: false,
        has_default_route: false,
        has_address: false,
    }
}

fn fill_interface(root: &Root, nic: &mut Nic, interface: String, addresses: &Addresses) {
    let net = format!("sys/class/net/{interface}");
    nic.mac = root.text(&format!("{net}/address"));
    nic.mtu = root.number(&format!("{net}/mtu"));
    nic.is_up = root.number(&format!("{net}/flags")).is_some_and(|flags| flags & 1 != 0);
    nic.has_link = root.number(&format!("{net}/carrier")) == Some(1);
    nic.mbps = root.number(&format!("{net}/speed")).filter(|speed| *speed > 0);
    nic.master = root.link(&format!("{net}/master"));
    nic.upper =
        root.list(&net).iter().filter_map(|name| name.strip_prefix("upper_")).map(Into::into).collect();
    // A bridge or bond is told as what it is.
    nic.upper.retain(|upper| nic.master.as_ref() != Some(upper));
    nic.has_default_route = addresses.default_routes.contains(&interface);
    nic.has_address = addresses.with_address.contains(&interface);
    nic.interface = Some(interface);
}

fn kind_of_interface(root: &Root, interface: &str) -> Option<String> {
    let net = format!("sys/class/net/{interface}");
    let text = root.text(&format!("{net}/uevent")).unwrap_or_default();
    let kind = text.lines().find_map(|line| line.strip_prefix("DEVTYPE=")).map(Into::into);
    kind.or_else(|| root.has(&format!("{net}/tun_flags")).then(|| "tap".into()))
}

/// Which interfaces have addresses and default routes. IPv4 addresses are known by their routes: an interface with an
/// address has a route to its own network.
struct Addresses {
    default_routes: Vec<String>,
    with_address: Vec<String>,
}

impl Addresses {
    fn read(root: &Root) -> Self {
        let (mut default_routes, mut with_address) = (Vec::new(), Vec::new());
        for line in root.text("proc/net/route").unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [interface, destination, ..] = fields[..] {
                with_address.push(interface.to_owned());
                if destination == "00000000" && fields.get(7) == Some(&"00000000") {
                    default_routes.push(interface.to_owned());
                }
            }
        }
        for line in root.text("proc/net/ipv6_route").unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_default =
                fields.first().is_some_and(|to| to.chars().all(|c| c == '0')) && fields.get(1) == Some(&"00");
            // A route to nowhere (a reject route on lo) is none.
            if let (true, Some(interface)) = (is_default, fields.get(9).filter(|name| **name != "lo")) {
                default_routes.push((*interface).to_owned());
            }
        }
        for line in root.text("proc/net/if_inet6").unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let (Some(&"00"), Some(interface)) = (fields.get(3), fields.get(5)) {
                with_address.push((*interface).to_owned());
            }
        }
        Self { default_routes, with_address }
    }
}
