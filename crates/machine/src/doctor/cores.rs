//! Cores: what the CPU can, and what else runs where workers are to run.

use config::{Config, Idle};

use super::Findings;
use crate::{Machine, Root, cpu};

pub(super) fn examine(root: &Root, machine: &Machine, config: Option<&Config>, findings: &mut Findings) {
    let flags = cpu::flags(root);
    if !flags.is_empty() {
        instructions(|name| flags.contains(name), findings);
    }
    let Some(config) = config else {
        for core in &machine.cores {
            slow_governor(core, findings);
        }
        return;
    };
    for (at, id) in config.system.workers.iter().enumerate() {
        let Some(core) = machine.cores.iter().find(|core| core.id == *id) else {
            let there = machine.cores.len();
            findings.error(
                "core-missing",
                format!("system.workers names core {id}, which is not online ({there} are)"),
                "name other cores in system.workers: causeway setup proposes some",
            );
            continue;
        };
        slow_governor(core, findings);
        if let Some(other) = config.system.workers[..at].iter().find(|other| core.siblings.contains(other)) {
            findings.warning(
                "core-shared",
                format!("workers on cores {other} and {id} share one physical core"),
                "give each worker a physical core of its own",
            );
        }
        if !core.isolated {
            let what = format!("the kernel may run other programs on core {id}, where a worker polls");
            let remedy = format!("isolcpus={id} nohz_full={id} rcu_nocbs={id} on the kernel's command line");
            match config.system.idle {
                Idle::Spin => findings.warning("core-not-isolated", what, remedy),
                Idle::Adaptive(_) => findings.note("core-not-isolated", what, remedy),
            }
        }
        for nic in config.ports.iter().filter_map(|port| match &port.device {
            config::Device::Pci(address) => machine.nic(address),
            _ => None,
        }) {
            if nic.node.is_some_and(|node| node != core.node) {
                findings.warning(
                    "core-of-another-node",
                    format!("core {id} is on NUMA node {}, {} on another", core.node, nic.name()),
                    "use cores of the NIC's node: causeway setup shows them",
                );
            }
        }
    }
}

fn instructions(has: impl Fn(&str) -> bool, findings: &mut Findings) {
    let missing: Vec<&str> = ["cx16", "lahf_lm", "popcnt", "ssse3", "sse4_1", "sse4_2"]
        .into_iter()
        .filter(|flag| !has(flag))
        .collect();
    if !missing.is_empty() {
        findings.error(
            "x86-64-v2",
            format!("the CPU lacks {}", missing.join(", ")),
            "run it on an x86-64-v2 CPU; for a virtual machine choose a CPU model that passes them on",
        );
    }
    if !(has("aes") && has("pclmulqdq")) {
        findings.warning(
            "aes-missing",
            "the CPU has no AES or no carry-less multiplication instructions: encryption is some 10 times slower",
            "for a virtual machine choose a CPU model with aes and pclmulqdq (with vaes, where the host has it)",
        );
    }
}

fn slow_governor(core: &cpu::Core, findings: &mut Findings) {
    if let Some(governor) = core.governor.as_deref().filter(|governor| *governor != "performance") {
        findings.warning(
            "governor",
            format!("the frequency of core {} is ruled by {governor:?}", core.id),
            format!("echo performance > /sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", core.id),
        );
    }
}
