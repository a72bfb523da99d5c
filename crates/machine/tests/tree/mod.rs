//! A machine made of files: sysfs, procfs and what else is read of one.
#![allow(dead_code)] // each test uses a part of it

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use machine::Root;

/// Removed when dropped.
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// A server: two X710 on node 1 and an unknown NIC with the default route, eight cores on two nodes, no IOMMU.
    pub(crate) fn server() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("machine-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tree = Self(std::env::temp_dir().join(name));
        tree.pci("0000:03:00.0", 0x8086, 0x1572, 1, "i40e", Some("lan0"));
        tree.pci("0000:03:00.1", 0x8086, 0x1572, 1, "i40e", Some("lan1"));
        tree.pci("0000:00:05.0", 0x10ec, 0x8168, -1, "r8169", Some("eth0"));
        for driver in ["vfio-pci", "uio_pci_generic"] {
            tree.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        tree.file("sys/bus/pci/drivers_probe", "");
        tree.file("sys/class/misc/tun/dev", "10:200");
        tree.file("sys/module/vfio_pci/version", "0");
        tree.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
        tree.file("sys/class/net/lo/type", "772\n");
        tree.file("sys/devices/system/cpu/online", "0-7\n");
        tree.file("sys/devices/system/cpu/isolated", "\n");
        for core in 0..8 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            // 0 and 4 share a physical core, and so on.
            tree.file(
                &format!("{cpu}/topology/thread_siblings_list"),
                &format!("{},{}\n", core % 4, core % 4 + 4),
            );
            tree.file(&format!("{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        for (node, cores) in [(0, "0-1,4-5"), (1, "2-3,6-7")] {
            let node = format!("sys/devices/system/node/node{node}");
            tree.file(&format!("{node}/cpulist"), cores);
            tree.file(&format!("{node}/hugepages/hugepages-2048kB/nr_hugepages"), "0\n");
            tree.file(&format!("{node}/hugepages/hugepages-2048kB/free_hugepages"), "0\n");
        }
        tree.file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
        tree.file("run/systemd/timesync/synchronized", "");
        tree.file(
            "proc/cpuinfo",
            "processor\t: 0\nflags\t\t: fpu cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2 aes pclmulqdq\n",
        );
        tree.file("proc/sys/kernel/osrelease", "6.1.0\n");
        tree.file(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        );
        tree
    }

    pub(crate) fn root(&self) -> Root {
        Root::new(&self.0).answered_by(kernel)
    }

    /// Puts a device into a group of an IOMMU.
    pub(crate) fn group(&self, group: u32, pci: &str) {
        let place = format!("sys/kernel/iommu_groups/{group}");
        self.file(&format!("{place}/type"), "DMA");
        self.link(&format!("{place}/devices/{pci}"), &format!("../../../../bus/pci/devices/{pci}"));
        self.link(
            &format!("sys/bus/pci/devices/{pci}/iommu_group"),
            &format!("../../../../kernel/iommu_groups/{group}"),
        );
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    pub(crate) fn file(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("writable");
    }

    pub(crate) fn link(&self, inside: &str, target: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        let _ = fs::remove_file(&path);
        symlink(target, path).expect("a link");
    }

    pub(crate) fn text(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    pub(crate) fn pci(
        &self,
        address: &str,
        vendor: u32,
        device: u32,
        node: i32,
        driver: &str,
        interface: Option<&str>,
    ) {
        let place = format!("sys/bus/pci/devices/{address}");
        self.file(&format!("{place}/class"), "0x020000\n");
        self.file(&format!("{place}/vendor"), &format!("{vendor:#06x}\n"));
        self.file(&format!("{place}/device"), &format!("{device:#06x}\n"));
        self.file(&format!("{place}/numa_node"), &format!("{node}\n"));
        self.file(&format!("{place}/driver_override"), "(null)\n");
        self.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        self.file(&format!("sys/bus/pci/drivers/{driver}/bind"), "");
        self.link(&format!("{place}/driver"), &format!("../../drivers/{driver}"));
        if let Some(interface) = interface {
            self.interface(interface, 1500);
            self.link(&format!("{place}/net/{interface}"), &format!("../../../../../class/net/{interface}"));
        }
    }

    pub(crate) fn interface(&self, name: &str, mtu: u32) {
        let net = format!("sys/class/net/{name}");
        for (file, text) in [
            ("type", "1"),
            ("address", "02:00:00:00:00:01"),
            ("flags", "0x1003"),
            ("carrier", "1"),
            ("speed", "10000"),
        ] {
            self.file(&format!("{net}/{file}"), text);
        }
        self.file(&format!("{net}/mtu"), &mtu.to_string());
        self.file(&format!("proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1\n");
    }
}

/// What a kernel does when its files of drivers are written to.
fn kernel(root: &Root, file: &str, text: &str) {
    let bind = |pci: &str, driver: &str| {
        if !driver.is_empty() && root.has(&format!("sys/bus/pci/drivers/{driver}")) {
            let place = root.path(&format!("sys/bus/pci/devices/{pci}/driver"));
            symlink(format!("../../drivers/{driver}"), place).expect("a device without a driver");
        }
    };
    if let Some(device) = file.strip_suffix("/driver/unbind") {
        fs::remove_file(root.path(&format!("{device}/driver"))).expect("a device with a driver");
    } else if file == "sys/bus/pci/drivers_probe" {
        let wanted = root.text(&format!("sys/bus/pci/devices/{text}/driver_override")).unwrap_or_default();
        bind(text, &wanted);
    } else if let Some(driver) =
        file.strip_prefix("sys/bus/pci/drivers/").and_then(|rest| rest.strip_suffix("/bind"))
    {
        bind(text, driver);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
