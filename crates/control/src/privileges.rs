//! `show privileges`: what the process may still do, as the kernel says it.

use config::Config;
use serde_json::{Value, json};

pub(crate) fn show(config: &Config) -> Value {
    let state = confine::state();
    let thread = |thread: &confine::ThreadState| {
        json!({
            "thread": thread.name,
            "capabilities": thread.capabilities,
            "no_new_privileges": thread.no_new_privileges,
            "system_calls": if thread.filtered { "filtered" } else { "all" },
        })
    };
    json!({
        "hardening": if config.system.hardening { "on" } else { "off" },
        "uid": state.uid,
        "gid": state.gid,
        "threads": state.threads.iter().map(thread).collect::<Vec<_>>(),
        "dumpable": state.dumpable,
        "core_dump_octets": state.core_limit,
        "locked_octets": state.locked,
    })
}
