//! Finds DPDK by pkg-config, compiles the shim and generates the bindings.
#![allow(clippy::print_stdout)] // how a build script talks to cargo

use std::env;
use std::path::PathBuf;

/// The least machine that Debian's DPDK runs on. Never "native": the binary may be built elsewhere.
const MACHINE: &str = "-march=corei7";

fn main() {
    println!("cargo:rerun-if-changed=shim.c");
    println!("cargo:rerun-if-changed=shim.h");
    let dpdk = match pkg_config::Config::new().atleast_version("22.11").probe("libdpdk") {
        Ok(dpdk) => dpdk,
        Err(error) => panic!("DPDK 22.11 or newer is needed; dpdk-build/install.sh installs it: {error}"),
    };
    let mut shim = cc::Build::new();
    shim.file("shim.c").includes(&dpdk.include_paths).flag("-include").flag("rte_config.h").opt_level(3);
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        shim.flag(MACHINE);
    }
    shim.compile("dpdk_shim");

    let mut bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())))
        .clang_args(["-include", "rte_config.h"])
        .allowlist_function("shim_.*")
        .allowlist_function("rte_eal_(init|cleanup|hotplug_add|hotplug_remove)")
        .allowlist_function("rte_thread_(un)?register")
        .allowlist_function("rte_strerror")
        .allowlist_function("rte_pktmbuf_(pool_create|free_bulk|free)")
        .allowlist_function("rte_mempool_(avail_count|in_use_count|free)")
        .allowlist_function("rte_eth_dev_(get_port_by_name|info_get|configure|start|stop|close|set_mtu|get_mtu|socket_id|default_mac_addr_set)")
        .allowlist_function("rte_eth_([rt]x_queue_setup|link_get_nowait|macaddr_get|promiscuous_enable|stats_get)")
        .allowlist_type("rte_mbuf|rte_eth_conf|rte_eth_dev_info|rte_eth_link|rte_eth_stats|rte_ether_addr")
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
