//! Every fault of a machine is found by its code, and a machine that is well has none.
#![allow(missing_docs)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use config::Config;
use machine::Machine;
use machine::doctor::{CODES, Severity, examine};

mod tree;
use tree::Tree;

const CLIENT: &str = r#"
mode = "client"
[system]
workers = [WORKERS]
hugepages = HUGE
[[port]]
name = "trunk0"
role = "trunk"
device = "TRUNK"
[[port]]
name = "wan"
role = "uplink"
device = "kernel:eth0"
[[segment]]
name = "one"
tunnel_id = 1
[[segment.attachment]]
port = "trunk0"
vlan = 10
[client]
server = "192.0.2.1"
user = "branch"
password = "secret"
fingerprint = "0000000000000000000000000000000000000000000000000000000000000000"
"#;

fn config(trunk: &str, workers: &str, huge: bool) -> Config {
    let text = CLIENT.replace("TRUNK", trunk).replace("WORKERS", workers).replace("HUGE", &huge.to_string());
    Config::parse(Path::new("causeway.toml"), &text).expect("a good configuration")
}

fn server() -> Config {
    let text = CLIENT.replace("TRUNK", "kernel:lan0").replace("WORKERS", "2").replace("HUGE", "false");
    let (common, _) = text.split_once("[client]").expect("there");
    let text = common.replace("client", "server")
        + "[server]\nlisten = \"0.0.0.0:443\"\ncertificate = \"c\"\nkey = \"k\"\n[[server.site]]\nuser = \"a\"\nverifier = \"SCRAM-SHA-256$100000:bx08W3qZuNf2FSQzQlFgrw==$5TXF/E8r7MnDlRxqVeP1/ZysFWkyAiPW+P+Khp2tdx0=:DINyL8CBjp5hVuLj6UFhJHnzHZhPn9CxEIjL6VmwF6g=\"\n";
    Config::parse(Path::new("causeway.toml"), &text).expect("a good configuration")
}

fn codes(tree: &Tree, config: Option<&Config>) -> Vec<&'static str> {
    let root = tree.root();
    examine(&root, &Machine::look(&root), config, &[]).iter().map(|finding| finding.code).collect()
}

/// Cores 2 and 3 are isolated, so that nothing at all is found.
fn well() -> Tree {
    let tree = Tree::server();
    tree.file("sys/devices/system/cpu/isolated", "2-3");
    tree
}

#[test]
fn a_machine_that_is_well_has_no_findings() {
    assert_eq!(codes(&well(), Some(&config("kernel:lan0", "2", false))), [""; 0]);
    assert_eq!(codes(&well(), Some(&server())), [""; 0]);
    assert_eq!(codes(&well(), None), [""; 0]);
}

#[test]
fn faults_of_interfaces() {
    let cases: &[(&str, &str, &str)] = &[
        ("interface-mtu", "sys/class/net/lan0/mtu", "1400"),
        ("interface-down", "sys/class/net/lan0/flags", "0x1002"),
        ("no-link", "sys/class/net/lan0/carrier", "0"),
        ("ipv6-on-trunk", "proc/sys/net/ipv6/conf/lan0/disable_ipv6", "0"),
        ("large-receive", "ethtool/lan0", "Features for lan0:\nlarge-receive-offload: on\n"),
        ("address-on-trunk", "proc/net/if_inet6", "fd000000000000000000000000000001 02 40 00 80 lan0\n"),
        ("promiscuous", "sys/bus/pci/devices/0000:03:00.0/physfn/class", "0x020000"),
        ("promiscuous", "sys/class/dmi/id/sys_vendor", "VMware, Inc."),
        ("promiscuous", "sys/class/dmi/id/sys_vendor", "Amazon EC2"),
        ("governor", "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
        ("core-not-isolated", "sys/devices/system/cpu/isolated", ""),
        ("clock-source", "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
        ("aes-missing", "proc/cpuinfo", "flags : cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2"),
        ("x86-64-v2", "proc/cpuinfo", "flags : cx16 lahf_lm ssse3 sse4_1 aes pclmulqdq"),
    ];
    for (code, file, text) in cases {
        let tree = well();
        tree.file(file, text);
        assert_eq!(codes(&tree, Some(&config("kernel:lan0", "2", false))), [*code], "{file}");
    }
    let tree = well();
    tree.link("sys/class/net/lan0/master", "../br0");
    assert_eq!(codes(&tree, Some(&config("kernel:lan0", "2", false))), ["interface-in-bridge"]);
    assert_eq!(codes(&tree, Some(&config("kernel:lan7", "2", false))), ["interface-missing"]);
    tree.interface("veth0", 1500);
    assert_eq!(codes(&tree, Some(&config("af_packet:veth0", "2", false))), ["af-packet-checksums"]);
}

#[test]
fn no_address_and_no_route() {
    let tree = well();
    tree.file("proc/net/route", "Iface\tDestination\n");
    assert_eq!(
        codes(&tree, Some(&config("kernel:lan0", "2", false))),
        ["no-address-on-uplink", "no-default-route"]
    );
}

#[test]
fn no_time_service() {
    let tree = well();
    std::fs::remove_file(tree.path("run/systemd/timesync/synchronized")).expect("there");
    assert_eq!(codes(&tree, None), ["clock-not-synchronised"]);
}

#[test]
fn faults_of_cores() {
    let with = |workers: &str| codes(&well(), Some(&config("kernel:lan0", workers, false)));
    assert_eq!(with("9"), ["core-missing"]);
    assert_eq!(with("2, 6"), ["core-shared", "core-not-isolated"]);
}

#[test]
fn faults_of_nics() {
    let nic = "sys/bus/pci/devices/0000:03:00.0";
    let tree = well();
    let wanted = config("0000:03:00.0", "2", true);
    assert_eq!(codes(&tree, Some(&wanted)), ["hugepages-few", "nic-bound-to-kernel"]);

    tree.link(&format!("{nic}/driver"), "../../drivers/vfio-pci");
    let pages = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages";
    tree.file(pages, "512");
    assert_eq!(codes(&tree, Some(&wanted)), ["iommu-off"]);
    tree.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y");
    assert_eq!(codes(&tree, Some(&wanted)), ["unsafe-dma"]);
    // vfio's own groups are none of an IOMMU.
    tree.group(1, "0000:03:00.0");
    tree.file("sys/kernel/iommu_groups/1/name", "vfio-noiommu\n");
    assert_eq!(codes(&tree, Some(&wanted)), ["unsafe-dma"]);
    std::fs::remove_file(tree.path("sys/kernel/iommu_groups/1/name")).expect("there");
    assert_eq!(codes(&tree, Some(&wanted)), [""; 0]);
    tree.group(1, "0000:00:05.0");
    assert_eq!(codes(&tree, Some(&wanted)), ["iommu-group-shared"]);
    std::fs::remove_file(tree.path("sys/kernel/iommu_groups/1/devices/0000:00:05.0")).expect("there");
    tree.file(
        "proc/self/limits",
        "Max locked memory         65536                65536                bytes\n",
    );
    assert_eq!(codes(&tree, Some(&wanted)), ["memlock"]);
    let unit = "lib/systemd/system/causeway.service";
    tree.file(unit, "[Service]\nLimitMEMLOCK=infinity\n");
    assert_eq!(codes(&tree, Some(&wanted)), [""; 0], "the service has its own limit");
    std::fs::remove_file(tree.path(unit)).expect("there");
    let far = config("0000:03:00.0", "1", false);
    assert_eq!(
        codes(&tree, Some(&far)),
        ["core-of-another-node", "hugepages-unused", "memlock", "core-not-isolated"]
    );
    assert_eq!(codes(&tree, Some(&config("0000:09:00.0", "2", true)))[0], "nic-missing");
    assert_eq!(codes(&tree, Some(&config("0000:00:05.0", "2", true)))[0], "nic-unsupported");

    let bare = well();
    std::fs::remove_dir_all(bare.path("sys/module/vfio_pci")).expect("there");
    assert!(codes(&bare, Some(&wanted)).contains(&"module-missing"));
    bare.file(
        "lib/modules/6.1.0/modules.dep",
        "kernel/drivers/uio/uio_pci_generic.ko: kernel/drivers/uio/uio.ko\n",
    );
    assert!(!codes(&bare, Some(&wanted)).contains(&"module-missing"));
}

#[test]
fn a_running_appliance_has_its_pages_and_limits() {
    let tree = well();
    let wanted = config("0000:03:00.0", "2", true);
    tree.group(1, "0000:03:00.0");
    tree.link("sys/bus/pci/devices/0000:03:00.0/driver", "../../drivers/vfio-pci");
    tree.file(
        "proc/self/limits",
        "Max locked memory         65536                65536                bytes\n",
    );
    assert_eq!(codes(&tree, Some(&wanted)), ["hugepages-few", "memlock"]);
    // All pages are its own; this command is of the same name.
    for (pid, kb, limit) in [("12", wanted.system.memory_mb * 1024, "unlimited"), ("13", 0, "65536")] {
        tree.file(&format!("proc/{pid}/comm"), "causeway\n");
        tree.file(&format!("proc/{pid}/status"), &format!("Name:\tcauseway\nHugetlbPages:\t  {kb} kB\n"));
        tree.file(
            &format!("proc/{pid}/limits"),
            &format!("Max locked memory         {limit}   {limit}   bytes\n"),
        );
    }
    assert_eq!(codes(&tree, Some(&wanted)), [""; 0]);
}

#[test]
fn a_nic_without_its_makers_file() {
    let tree = well();
    tree.pci("0000:05:00.0", 0x8086, 0x1592, 1, "vfio-pci", None);
    tree.group(1, "0000:05:00.0");
    let wanted = config("0000:05:00.0", "2", false);
    assert_eq!(codes(&tree, Some(&wanted)), ["firmware-missing", "hugepages-unused"]);
    tree.file("lib/firmware/intel/ice/ddp/ice.pkg", "");
    assert_eq!(codes(&tree, Some(&wanted)), ["hugepages-unused"]);
}

#[test]
fn another_program_on_our_port_but_not_ourselves() {
    let tree = well();
    let line = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                0: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1\n";
    tree.file("proc/net/tcp", line);
    tree.file("proc/12/comm", "nginx\n");
    tree.link("proc/12/fd/5", "socket:[777]");
    let root = tree.root();
    let found = examine(&root, &Machine::look(&root), Some(&server()), &[]);
    assert_eq!((found[0].code, found[0].severity), ("port-taken", Severity::Error));
    assert!(found[0].what.contains("nginx"), "{}", found[0].what);
    tree.file("proc/12/comm", "causeway\n");
    assert_eq!(codes(&tree, Some(&server())), [""; 0]);
    // As somebody sees it who may not look into other users' processes.
    std::fs::remove_dir_all(tree.path("proc/12/fd")).expect("there");
    let found = examine(&root, &Machine::look(&root), Some(&server()), &[]);
    let found: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(found, [("port-unknown", Severity::Note)]);
}

#[test]
fn files_that_the_service_cannot_read() {
    let tree = well();
    let root = tree.root();
    tree.file("etc/causeway/causeway.toml", "");
    tree.file("etc/causeway/secret", "");
    let files = ["etc/causeway/causeway.toml", "etc/causeway/secret"].map(|file| tree.path(file));
    let mode = |file: &str, mode| {
        std::fs::set_permissions(tree.path(file), std::fs::Permissions::from_mode(mode)).expect("changed");
    };
    let gid = std::fs::metadata(&files[0]).expect("there").gid();
    mode("etc/causeway", 0o770);
    mode("etc/causeway/causeway.toml", 0o640);
    mode("etc/causeway/secret", 0o600);
    let found = || {
        let found = examine(&root, &Machine::look(&root), None, &files);
        found.iter().map(|finding| (finding.code, finding.what.clone())).collect::<Vec<_>>()
    };
    assert_eq!(found(), [], "no service is installed");
    tree.file("lib/systemd/system/causeway.service", "");
    tree.file("etc/passwd", "root:x:0:0::/:/bin/sh\ncauseway:x:4242:4243::/nonexistent:/bin/false\n");
    tree.file("etc/group", &format!("root:x:0:\nshared:x:{gid}:somebody,causeway\n"));
    let [(code, what)] = &found()[..] else { panic!("{:?}", found()) };
    assert!(*code == "file-unreadable" && what.ends_with("etc/causeway/secret"), "{what}");
    // A directory above that is closed to it.
    mode("etc/causeway/secret", 0o640);
    assert_eq!(found(), []);
    mode("etc", 0o700);
    assert_eq!(found().len(), 2);
    // Root reads everything.
    tree.file("etc/systemd/system/causeway.service.d/setup.conf", "[Service]\nUser=root\n");
    assert_eq!(found(), []);
}

#[test]
fn all_codes_are_documented() {
    let page = include_str!("../../../docs/install.md");
    for (code, meaning) in CODES {
        assert!(page.contains(&format!("`{code}`")), "docs/install.md does not tell of {code} ({meaning})");
    }
}
