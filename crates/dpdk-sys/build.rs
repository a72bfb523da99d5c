//! Finds DPDK by pkg-config, compiles the shim and generates the bindings.
//!
//! By default it is the machine's DPDK, linked as shared libraries. With `CAUSEWAY_DPDK=static` it is the one in `DPDK_PREFIX`, which
//! dpdk-build/static.sh makes, linked into the binary.
#![allow(clippy::print_stdout)] // how a build script talks to cargo

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The least machine that Debian's DPDK runs on. Never "native": the binary may be built elsewhere.
const MACHINE: &str = "-march=corei7";

fn main() {
    println!("cargo:rerun-if-changed=shim.c");
    println!("cargo:rerun-if-changed=shim.h");
    println!("cargo:rerun-if-env-changed=CAUSEWAY_DPDK");
    let prefix = match env::var("CAUSEWAY_DPDK").as_deref() {
        Ok("static") => Some(static_prefix()),
        Err(_) | Ok("" | "shared") => None,
        Ok(other) => panic!("CAUSEWAY_DPDK={other} is neither \"static\" nor \"shared\""),
    };
    let include_paths = match &prefix {
        Some(prefix) => vec![prefix.join("include")],
        None => shared(),
    };
    let mut shim = cc::Build::new();
    shim.file("shim.c").includes(&include_paths).flag("-include").flag("rte_config.h").opt_level(3);
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        shim.flag(MACHINE);
    }
    shim.compile("dpdk_shim");
    // Behind the shim, which needs them.
    if let Some(prefix) = prefix {
        link_static(&prefix);
    }

    let mut bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(include_paths.iter().map(|path| format!("-I{}", path.display())))
        .clang_args(["-include", "rte_config.h"])
        .allowlist_function("shim_.*")
        .allowlist_function("rte_eal_(init|cleanup|hotplug_add|hotplug_remove)")
        .allowlist_function("rte_thread_(un)?register")
        .allowlist_function("rte_strerror")
        .allowlist_function("rte_pktmbuf_(pool_create|free_bulk|free)")
        .allowlist_function("rte_mempool_(avail_count|in_use_count|free)")
        .allowlist_function("rte_eth_dev_(get_port_by_name|info_get|configure|start|stop|close|set_mtu|get_mtu|socket_id|default_mac_addr_set)")
        .allowlist_function("rte_eth_([rt]x_queue_setup|link_get_nowait|macaddr_get|promiscuous_enable|stats_get|xstats_get|xstats_get_names)")
        .allowlist_type("rte_mbuf|rte_eth_conf|rte_eth_dev_info|rte_eth_link|rte_eth_stats|rte_eth_xstat|rte_eth_xstat_name|rte_ether_addr")
        .allowlist_var("RTE_ETH_LINK_UP|RTE_MBUF_DEFAULT_MEMPOOL_OPS|RTE_PKTMBUF_HEADROOM")
        .opaque_type("rte_(l2tpv2|arp|gtp|vxlan|ipv6_fragment|tcp_hdr|geneve|gre|flow).*")
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(env::var("OUT_DIR").expect("cargo sets OUT_DIR"))
        .derive_default(true)
        .layout_tests(false);
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        bindings = bindings.clang_arg(MACHINE);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindings.generate().expect("DPDK's headers parse").write_to_file(out).expect("OUT_DIR can be written");
}

/// The machine's DPDK, linked by its shared libraries. Returns where its headers are.
fn shared() -> Vec<PathBuf> {
    match pkg_config::Config::new().atleast_version("22.11").probe("libdpdk") {
        Ok(dpdk) => dpdk.include_paths,
        Err(error) => panic!("DPDK 22.11 or newer is needed; dpdk-build/install.sh installs it: {error}"),
    }
}

fn static_prefix() -> PathBuf {
    println!("cargo:rerun-if-env-changed=DPDK_PREFIX");
    let prefix =
        env::var_os("DPDK_PREFIX").map(PathBuf::from).filter(|prefix| prefix.join("include").is_dir());
    prefix.expect("CAUSEWAY_DPDK=static needs DPDK_PREFIX=$(dpdk-build/static.sh)")
}

/// Links the DPDK in `prefix` into the binary. All of every archive: drivers register themselves by constructors, which nothing
/// refers to. The `pkg-config` crate would emit an empty pair of --whole-archive and --no-whole-archive, and with it no driver.
fn link_static(prefix: &std::path::Path) {
    let libraries = prefix.join("lib/causeway");
    let asked = Command::new("pkg-config")
        .args(["--static", "--libs", "libdpdk"])
        .env("PKG_CONFIG_PATH", libraries.join("pkgconfig"))
        .output()
        .expect("pkg-config runs");
    assert!(asked.status.success(), "pkg-config: {}", String::from_utf8_lossy(&asked.stderr));
    println!("cargo:rustc-link-search=native={}", libraries.display());
    let (mut archives, mut others) = (Vec::new(), Vec::new());
    for word in String::from_utf8_lossy(&asked.stdout).split_whitespace() {
        if let Some(archive) = word.strip_prefix("-l:lib").and_then(|file| file.strip_suffix(".a")) {
            archives.push(archive.to_owned());
        } else if let Some(library) = word.strip_prefix("-l") {
            // The archives once more, under their names as shared libraries.
            if !library.starts_with("rte_") && !others.contains(&library.to_owned()) {
                others.push(library.to_owned());
            }
        }
    }
    assert!(archives.len() > 20, "libdpdk.pc names its archives");
    for archive in archives {
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle={archive}");
    }
    for library in others {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}
