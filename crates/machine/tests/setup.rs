//! What is proposed for a machine, how it is set up, and that it is as before when that is taken back.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use machine::plan::{Bind, UserSpace, Wishes};
use machine::{Machine, Plan, Root, setup};

mod tree;
use tree::Tree;

fn propose(root: &Root, wishes: &Wishes) -> Result<Plan, String> {
    Plan::propose(&Machine::look(root), wishes)
}

fn bound_by(driver: UserSpace) -> Wishes {
    Wishes {
        bind: Bind::Driver(driver),
        trunks: vec!["lan0".into(), "0000:03:00.1".into()],
        ..Wishes::default()
    }
}

fn with_kernel_uplink(tree: &Tree) -> Plan {
    // The uplink is no NIC of ours: its port is planned by itself.
    let root = tree.root();
    let trunks = propose(&root, &Wishes { uplinks: vec![], ..bound_by(UserSpace::VfioPci) });
    assert!(trunks.expect_err("eth0 has no driver of ours").contains("--bind kernel"));
    tree.pci("0000:04:00.0", 0x1af4, 0x1041, 0, "virtio-pci", Some("eth1"));
    let wishes = Wishes { uplinks: vec!["eth1".into()], ..bound_by(UserSpace::VfioPci) };
    propose(&root, &wishes).expect("a plan")
}

#[test]
fn without_an_iommu_nothing_is_taken_from_the_kernel_unasked() {
    let tree = Tree::server();
    let plan = propose(&tree.root(), &Wishes::default()).expect("a plan");
    let devices: Vec<&str> = plan.ports.iter().map(|port| port.device.as_str()).collect();
    assert_eq!(devices, ["kernel:lan0", "kernel:lan1", "kernel:eth0"]);
    assert!(plan.ports.iter().all(|port| port.bind.is_none()) && plan.hugepages.is_empty());
    assert!(plan.remarks.iter().any(|remark| remark.contains("no IOMMU")), "{:?}", plan.remarks);
}

#[test]
fn with_an_iommu_idle_nics_get_vfio_and_the_way_in_stays() {
    let tree = Tree::server();
    tree.group(7, "0000:03:00.0");
    tree.group(8, "0000:03:00.1");
    let plan = propose(&tree.root(), &Wishes::default()).expect("a plan");
    let ports: Vec<_> = plan.ports.iter().map(|port| (port.device.as_str(), port.bind)).collect();
    let vfio = Some(UserSpace::VfioPci);
    assert_eq!(ports, [("0000:03:00.0", vfio), ("0000:03:00.1", vfio), ("kernel:eth0", None)]);
    // Of the NICs' node, physical cores of their own, and not the kernel's.
    assert_eq!(plan.workers, [2, 3]);
    assert_eq!((plan.hugepages[0].node, plan.hugepages[0].pages), (1, 288));
}

#[test]
fn what_carries_a_vlan_is_not_taken() {
    // Whoever came in by lan0.20 would be out.
    let tree = Tree::server();
    tree.group(7, "0000:03:00.0");
    tree.group(8, "0000:03:00.1");
    tree.interface("lan0.20", 1500);
    tree.link("sys/class/net/lan0/upper_lan0.20", "../lan0.20");
    tree.link("sys/class/net/lan1/upper_br0", "../br0");
    tree.link("sys/class/net/lan1/master", "../br0");
    tree.file(
        "proc/net/route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
         lan0.20\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n",
    );
    let nic = |name: &str| Machine::look(&tree.root()).nic(name).expect("there").used_by();
    assert_eq!((nic("lan0").as_deref(), nic("lan1").as_deref()), (Some("lan0.20"), Some("br0")));
    let devices = |wishes: &Wishes| {
        let plan = propose(&tree.root(), wishes).expect("a plan");
        (plan.ports.iter().map(|port| port.device.clone()).collect::<Vec<_>>(), plan.remarks.join("\n"))
    };
    assert_eq!(devices(&Wishes::default()).0, ["kernel:eth0", "kernel:lan0.20"]);
    let trunks = ["lan0", "lan1"].map(String::from).to_vec();
    let (found, remarks) = devices(&Wishes { trunks, ..Wishes::default() });
    assert_eq!(found, ["kernel:lan0", "kernel:lan1", "kernel:lan0.20"], "{remarks}");
    assert!(remarks.contains("lan0 carries lan0.20") && remarks.contains("lan1 is part of br0"), "{remarks}");
}

#[test]
fn the_group_of_each_nic_decides() {
    let devices = |tree: &Tree| {
        let plan = propose(&tree.root(), &Wishes::default()).expect("a plan");
        (plan.ports.iter().map(|port| port.device.clone()).collect::<Vec<_>>(), plan.remarks.join("\n"))
    };
    // vfio without an IOMMU makes groups as well.
    let tree = Tree::server();
    tree.group(0, "0000:03:00.0");
    tree.file("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n");
    assert!(!Machine::look(&tree.root()).iommu);
    assert_eq!(devices(&tree).0, ["kernel:lan0", "kernel:lan1", "kernel:eth0"]);
    // Both in one group go together; not with a stranger.
    let tree = Tree::server();
    tree.group(7, "0000:03:00.0");
    tree.group(7, "0000:03:00.1");
    assert_eq!(devices(&tree).0, ["0000:03:00.0", "0000:03:00.1", "kernel:eth0"]);
    tree.group(7, "0000:00:05.0");
    let (found, remarks) = devices(&tree);
    assert_eq!(found, ["kernel:lan0", "kernel:lan1", "kernel:eth0"]);
    assert!(remarks.contains("0000:00:05.0 (one group, 7)"), "{remarks}");
}

#[test]
fn of_two_threads_of_one_core_the_second_works() {
    let tree = Tree::server();
    for core in 2..8 {
        fs::remove_dir_all(tree.path(&format!("sys/devices/system/cpu/cpu{core}"))).expect("there");
    }
    tree.file("sys/devices/system/cpu/online", "0-1\n");
    for core in 0..2 {
        tree.file(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"), "0-1\n");
    }
    let plan = propose(&tree.root(), &Wishes::default()).expect("a plan");
    assert_eq!(plan.workers, [1]);
}

#[test]
fn isolated_cores_are_taken_first() {
    let tree = Tree::server();
    tree.file("sys/devices/system/cpu/isolated", "1,5,3");
    let plan = propose(&tree.root(), &Wishes::default()).expect("a plan");
    assert_eq!(plan.workers, [3, 1], "of the NICs' node first; 5 is the sibling of 1");
    let plan = propose(&tree.root(), &Wishes { workers: Some(1), ..Wishes::default() }).expect("a plan");
    assert_eq!(plan.workers, [3]);
}

#[test]
fn what_is_not_there_is_told() {
    let tree = Tree::server();
    let wishes = Wishes { trunks: vec!["lan9".into()], ..Wishes::default() };
    assert!(propose(&tree.root(), &wishes).expect_err("no lan9").contains("lan0"));
    let wishes = Wishes { trunks: vec!["eth0".into()], uplinks: vec!["eth0".into()], ..Wishes::default() };
    assert!(propose(&tree.root(), &wishes).expect_err("both").contains("cannot be a trunk and the uplink"));
}

#[test]
fn set_up_and_back_again() {
    let tree = Tree::server();
    let root = tree.root();
    tree.file("etc/modules-load.d/causeway.conf", "# the operator's own\n");
    let plan = with_kernel_uplink(&tree);
    let before = everything(&tree.path(""));

    setup::write(&root, &plan).expect("written");
    assert!(matches!(setup::write(&root, &plan), Err(setup::Error::SetUpBefore)));
    assert!(tree.text("etc/modules-load.d/causeway.conf").contains("vfio-pci\ntun\n"));
    assert!(tree.text("etc/causeway/causeway.toml").contains("device = \"0000:03:00.0\""));
    assert!(tree.path("etc/systemd/system/multi-user.target.wants/causeway-setup.service").is_symlink());

    setup::apply(&root).expect("applied");
    let device = "sys/bus/pci/devices/0000:03:00.0";
    assert_eq!(tree.text(&format!("{device}/driver_override")), "vfio-pci\n");
    assert_eq!(tree.text("sys/bus/pci/drivers/i40e/unbind"), "0000:03:00.1", "the last one");
    assert_eq!(tree.text("sys/module/vfio/parameters/enable_unsafe_noiommu_mode"), "Y");
    assert_eq!(tree.text("sys/bus/pci/drivers_probe"), "0000:04:00.0", "the uplink comes last");
    assert_eq!(
        tree.text("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"),
        plan.hugepages[0].pages.to_string()
    );
    assert!(
        tree.text("etc/systemd/system/causeway.service.d/setup.conf").contains("User=root\nGroup=causeway\n"),
        "no IOMMU"
    );
    // What vfio does then.
    for (group, pci) in (0..).zip(["0000:03:00.0", "0000:03:00.1", "0000:04:00.0"]) {
        assert!(tree.path(&format!("sys/bus/pci/devices/{pci}/driver")).ends_with("driver"));
        tree.group(group, pci);
        tree.file(&format!("sys/kernel/iommu_groups/{group}/name"), "vfio-noiommu\n");
    }
    setup::apply(&root).expect("once more changes nothing");

    setup::undo(&root).expect("undone");
    assert_eq!(tree.text("sys/bus/pci/drivers/i40e/bind"), "0000:03:00.1");
    assert_eq!(tree.text("sys/bus/pci/drivers/virtio-pci/bind"), "0000:04:00.0");
    assert_eq!(tree.text(&format!("{device}/driver_override")), "\n");
    let after = everything(&tree.path(""));
    assert_eq!(Root::link(&root, &format!("{device}/driver")).as_deref(), Some("i40e"));
    let changed: Vec<_> = before
        .keys()
        .chain(after.keys())
        // sysfs answers otherwise than plain files; what was written to it is looked at above.
        .filter(|path| !path.starts_with("sys/bus/pci/") && !path.starts_with("sys/kernel/iommu_groups/"))
        .filter(|path| before.get(*path) != after.get(*path))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(matches!(setup::undo(&root), Err(setup::Error::NotSetUp)));
}

#[test]
fn a_nic_of_the_configuration_is_not_taken_from_under_it() {
    let tree = Tree::server();
    let root = tree.root();
    let plan = with_kernel_uplink(&tree);
    let port = |device: &str, role: &str| {
        format!("\n[[port]]\nname = \"a\"\nrole = \"{role}\"\ndevice = \"{device}\"\n")
    };
    for (device, role, remedy) in [
        ("kernel:lan0", "trunk", "device = \"0000:03:00.0\" and set [system] hugepages = true"),
        ("af_packet:lan1", "trunk", "device = \"0000:03:00.1\" and"),
        ("kernel:eth1", "uplink", "device = \"0000:04:00.0\", interface = \"eth1\" and"),
    ] {
        tree.file(setup::CONFIG, &format!("mode = \"client\"\n{}", port(device, role)));
        let told = setup::write(&root, &plan).expect_err(device).to_string();
        assert!(told.contains("causeway.toml, line 3: port \"a\"") && told.contains(remedy), "{told}");
        assert!(!root.has(setup::STATE) && !root.has(setup::UNIT), "{device}");
    }
    // What the plan leaves to the kernel, and what the configuration has from DPDK already.
    tree.file(
        setup::CONFIG,
        &format!("mode = \"client\"\n{}{}", port("kernel:eth0", "uplink"), port("0000:03:00.0", "trunk")),
    );
    setup::write(&root, &plan).expect("written");
}

#[test]
fn systemd_is_told_of_what_it_has_to_read_anew() {
    let tree = Tree::server();
    let plan = with_kernel_uplink(&tree);
    let root = Root::new(tree.path("")).answered_by(|root, file, text| {
        let path = root.path("told");
        let before = fs::read_to_string(&path).unwrap_or_default();
        if file == "systemctl" {
            let unit = if root.has(setup::UNIT) { "with" } else { "without" };
            fs::write(path, format!("{before}{text} {unit} the unit\n")).expect("writable");
        }
    });
    setup::write(&root, &plan).expect("written");
    setup::undo(&root).expect("undone");
    assert!(!root.has("told"), "no systemd runs");
    tree.file("run/systemd/system/a", "");
    setup::write(&root, &plan).expect("written");
    assert_eq!(tree.text("told"), "daemon-reload with the unit\n");
    setup::undo(&root).expect("undone");
    assert_eq!(tree.text("told"), "daemon-reload with the unit\ndaemon-reload without the unit\n");
}

#[test]
fn hugepages_are_never_made_less() {
    let tree = Tree::server();
    let root = tree.root();
    let plan = with_kernel_uplink(&tree);
    setup::write(&root, &plan).expect("written");
    let file = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
    tree.file(file, "4096\n");
    setup::apply(&root).expect("applied");
    assert_eq!(tree.text(file), "4096");
    setup::undo(&root).expect("undone");
    assert_eq!(tree.text(file), "0");
    // And as many as the configuration takes.
    tree.file(file, "0\n");
    let wishes =
        Wishes { memory_mb: Some(2048), uplinks: vec!["eth1".into()], ..bound_by(UserSpace::VfioPci) };
    let plan = propose(&root, &wishes).expect("a plan");
    assert_eq!((plan.memory_mb, plan.hugepages[0].pages), (2048, 1152));
}

#[test]
fn what_is_begun_can_be_read() {
    let tree = Tree::server();
    let plan = with_kernel_uplink(&tree);
    let sketch = config::Sketch::of(Path::new("causeway.toml"), &plan.skeleton()).expect("TOML");
    assert_eq!(sketch.ports.len(), 3);
    assert!(sketch.system.hugepages && sketch.system.memory_mb == 512);
}

#[test]
fn without_the_module_no_nic_is_touched() {
    let tree = Tree::server();
    let root = tree.root();
    let plan = with_kernel_uplink(&tree);
    fs::remove_dir_all(tree.path("sys/bus/pci/drivers/vfio-pci")).expect("there");
    fs::remove_dir_all(tree.path("sys/module/vfio")).expect("there");
    setup::write(&root, &plan).expect("written");
    let told = setup::apply(&root).expect_err("there is no vfio-pci").to_string();
    assert!(told.contains("modprobe vfio-pci"), "{told}");
    for (pci, driver) in [("0000:03:00.0", "i40e"), ("0000:04:00.0", "virtio-pci")] {
        assert_eq!(root.link(&format!("sys/bus/pci/devices/{pci}/driver")).as_deref(), Some(driver));
        assert_eq!(tree.text(&format!("sys/bus/pci/devices/{pci}/driver_override")), "(null)\n");
    }
    // Loaded by now: it was off before.
    tree.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    setup::undo(&root).expect("undone");
    assert_eq!(tree.text("sys/module/vfio/parameters/enable_unsafe_noiommu_mode"), "N");
}

#[test]
fn a_nic_that_cannot_be_bound_goes_back() {
    let tree = Tree::server();
    let plan = with_kernel_uplink(&tree);
    // It takes every write and binds nothing to vfio-pci, as a kernel does when the driver refuses the device.
    let root = tree.root().answered_by(|root, file, text| {
        if let Some(device) = file.strip_suffix("/driver/unbind") {
            fs::remove_file(root.path(&format!("{device}/driver"))).expect("it has a driver");
        } else if file == "sys/bus/pci/drivers/i40e/bind" {
            let place = root.path(&format!("sys/bus/pci/devices/{text}/driver"));
            std::os::unix::fs::symlink("../../drivers/i40e", place).expect("it has no driver");
        }
    });
    setup::write(&root, &plan).expect("written");
    let told = setup::apply(&root).expect_err("refused").to_string();
    assert!(
        told.contains("0000:03:00.0 cannot be bound to vfio-pci")
            && told.contains("bound to i40e, as before"),
        "{told}"
    );
    assert_eq!(root.link("sys/bus/pci/devices/0000:03:00.0/driver").as_deref(), Some("i40e"));
}

#[test]
fn what_was_kept_is_not_believed_blindly() {
    let kept = |from: &str, to: &str| {
        let tree = Tree::server();
        let root = tree.root();
        setup::write(&root, &with_kernel_uplink(&tree)).expect("written");
        let text = tree.text(setup::STATE);
        assert!(text.contains(from), "{text}");
        tree.file(setup::STATE, &text.replace(from, to));
        for done in [setup::undo(&root), setup::apply(&root)] {
            assert!(matches!(done, Err(setup::Error::Foreign(_))), "{from} to {to}: {done:?}");
        }
    };
    kept("etc/modules-load.d/causeway.conf", "etc/shadow");
    kept("0000:03:00.1", "../../../../etc");
    kept("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "proc/sys/kernel/core_pattern");
    kept("\"virtio-pci\"", "\"../../x\"");
    assert!(!setup::STATE.starts_with("var/lib/causeway/"), "that is the service's own");
}

#[test]
fn what_the_operator_changed_is_his() {
    let tree = Tree::server();
    let root = tree.root();
    let plan = propose(&root, &Wishes::default()).expect("a plan");
    setup::write(&root, &plan).expect("written");
    tree.file("etc/causeway/causeway.toml", "mode = \"server\"\n");
    let done = setup::undo(&root).expect("undone").join("\n");
    assert!(done.contains("left /etc/causeway/causeway.toml"), "{done}");
    assert_eq!(tree.text("etc/causeway/causeway.toml"), "mode = \"server\"\n");

    // And one that was there is not touched by the next.
    let done = setup::write(&root, &plan).expect("written").join("\n");
    assert!(done.contains("left /etc/causeway/causeway.toml as it is"), "{done}");
}

#[test]
fn a_nic_that_stays_with_its_driver_has_its_pages_at_each_boot() {
    let tree = Tree::server();
    let root = tree.root();
    tree.pci("0000:05:00.0", 0x15b3, 0x1017, 1, "mlx5_core", Some("lan5"));
    let wishes = Wishes { trunks: vec!["lan5".into()], ..Wishes::default() };
    let plan = propose(&root, &wishes).expect("a plan");
    assert!(plan.ports.iter().all(|port| port.bind.is_none()) && plan.is_for_each_boot());
    setup::write(&root, &plan).expect("written");
    assert!(root.has(setup::UNIT));
    setup::apply(&root).expect("applied");
    let pages = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
    assert_eq!(tree.text(pages), "288");
    setup::undo(&root).expect("undone");
    assert!(!root.has(setup::UNIT));
}

#[test]
fn ports_of_the_kernel_alone_need_no_unit() {
    let tree = Tree::server();
    let plan = propose(&tree.root(), &Wishes { bind: Bind::Kernel, ..Wishes::default() }).expect("a plan");
    setup::write(&tree.root(), &plan).expect("written");
    assert!(!tree.path(setup::UNIT).exists());
}

#[test]
fn the_service_starts_without_what_other_packages_have() {
    let unit = include_str!("../../../appliance-config/systemd/causeway.service");
    let paths = unit.lines().find_map(|line| line.strip_prefix("ExecPaths=")).expect("a line");
    // systemd.exec(5): a path that is not there keeps the service from starting, unless it begins with "-".
    let needed: Vec<&str> = paths.split_whitespace().filter(|path| !path.starts_with('-')).collect();
    assert_eq!(needed, ["/usr/bin/causeway", "/usr/lib"]);
    let program = unit.lines().find_map(|line| line.strip_prefix("ExecReload=")).expect("a line");
    assert!(program.starts_with("/usr/bin/kill ") && paths.contains("-/usr/bin/kill"));
    let control = include_str!("../../../package/control");
    let depends = control.lines().find_map(|line| line.strip_prefix("Depends: ")).expect("a line");
    assert!(depends.split(", ").any(|package| package == "procps"), "{depends}");
}

/// Every file and link of a tree with its content, but for temporary numbers with a newline at their end.
fn everything(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let name = path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
        if path.is_symlink() {
            found.insert(name, fs::read_link(&path).expect("a link").to_string_lossy().into_owned());
        } else if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        } else {
            found.insert(name, fs::read_to_string(&path).expect("text").trim_end().to_owned());
        }
    }
    found
}
