//! Generates the bindings of the part of `intel-ipsec-mb.h` that AES-GCM needs, and links the library.
#![allow(clippy::print_stdout)] // how a build script talks to cargo

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch != "x86_64") {
        return;
    }
    // As DPDK: in the appliance that is shipped it is part of the binary, so that it works without the library's package.
    println!("cargo:rerun-if-env-changed=CAUSEWAY_DPDK");
    if env::var("CAUSEWAY_DPDK").is_ok_and(|how| how == "static") {
        // From a directory of its own: a search path with all of the machine's libraries would come before dpdk-sys's.
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let archive = "/usr/lib/x86_64-linux-gnu/libIPSec_MB.a";
        if let Err(error) = std::fs::copy(archive, out.join("libIPSec_MB.a")) {
            panic!("{archive} is needed; dpdk-build/install.sh static installs it: {error}");
        }
        println!("cargo:rustc-link-search=native={}", out.display());
        println!("cargo:rustc-link-lib=static:-bundle=IPSec_MB");
    } else {
        println!("cargo:rustc-link-lib=dylib=IPSec_MB");
    }
    let bindings = bindgen::Builder::default()
        .header_contents("wrapper.h", "#include <intel-ipsec-mb.h>")
        .allowlist_function("alloc_mb_mgr|init_mb_mgr_auto")
        .allowlist_type("IMB_MGR|gcm_key_data|gcm_context_data")
        .derive_debug(false)
        .layout_tests(false)
        .generate();
    let bindings = match bindings {
        Ok(bindings) => bindings,
        Err(error) => {
            panic!("libipsec-mb-dev is needed; dpdk-build/install.sh installs it: {error}")
        }
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindings.write_to_file(out).expect("OUT_DIR can be written");
}
