//! `causeway setup`: shows the NICs and cores of this machine, proposes how to use them, and does it on request.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use config::Sketch;
use machine::plan::{Bind, Pages, PlannedPort, UserSpace, Wishes};
use machine::{Machine, Plan, Root, setup};
use serde_json::json;

use crate::Failure;

#[derive(Args)]
pub(crate) struct Setup {
    /// A NIC or interface for a trunk port, by interface name or PCI address; may be repeated. By default those that nobody uses.
    #[arg(long)]
    trunk: Vec<String>,
    /// The NIC or interface of the uplink; may be repeated. By default the one with the default route.
    #[arg(long)]
    uplink: Vec<String>,
    /// How many workers. By default by the cores that there are.
    #[arg(long)]
    workers: Option<usize>,
    /// How NICs become ports.
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    bind: Driver,
    /// Write what is proposed: a configuration to begin with if there is none, and a unit that binds NICs and reserves hugepages at each boot. --apply does it before that.
    #[arg(long, conflicts_with_all = ["apply", "undo"])]
    write: bool,
    /// Do now what was written, as the unit does at boot.
    #[arg(long, conflicts_with = "undo")]
    apply: bool,
    /// Put everything back as it was before --write.
    #[arg(long)]
    undo: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArg,
}

/// Where the machine is: for tests a tree of files.
#[derive(Args)]
pub(crate) struct RootArg {
    /// Another tree than the machine's own, with sys, proc, etc ...
    #[arg(long, default_value = "/", hide = true)]
    root: PathBuf,
}

impl RootArg {
    pub(crate) fn open(&self) -> Root {
        Root::new(&self.root)
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Driver {
    /// By DPDK where an IOMMU confines the NIC and nobody else uses it; else by the kernel.
    Auto,
    /// As Linux interfaces, all of them.
    Kernel,
    /// By DPDK through vfio-pci.
    #[value(name = "vfio-pci")]
    VfioPci,
    /// By DPDK through uio_pci_generic: for machines without IOMMU.
    #[value(name = "uio_pci_generic")]
    UioPciGeneric,
}

pub(crate) fn run(wanted: &Setup) -> Result<(), Failure> {
    let root = wanted.root.open();
    if wanted.apply {
        tell(&setup::apply(&root)?);
        return Ok(());
    }
    if wanted.undo {
        tell(&setup::undo(&root)?);
        return Ok(());
    }
    let machine = Machine::look(&root);
    let file = root.path(setup::CONFIG);
    let there = std::fs::read_to_string(&file).ok().and_then(|text| Sketch::of(&file, &text));
    let plan = Plan::propose(
        &machine,
        &Wishes {
            trunks: wanted.trunk.clone(),
            uplinks: wanted.uplink.clone(),
            workers: wanted.workers,
            bind: match wanted.bind {
                Driver::Auto => Bind::Auto,
                Driver::Kernel => Bind::Kernel,
                Driver::VfioPci => Bind::Driver(UserSpace::VfioPci),
                Driver::UioPciGeneric => Bind::Driver(UserSpace::UioPciGeneric),
            },
            memory_mb: there.map(|sketch| u64::from(sketch.system.memory_mb)),
        },
    )
    .map_err(Failure)?;
    if wanted.json {
        println!("{:#}", json!({ "machine": machine, "plan": plan }));
    } else {
        print!("{}{}", layout(&machine), proposal(&plan));
    }
    if wanted.write {
        tell(&setup::write(&root, &plan)?);
        match plan.is_for_each_boot() {
            true => println!(
                "\nNothing is bound or reserved yet: causeway setup --apply does it now, as each boot will; --undo puts everything back."
            ),
            false => println!("\ncauseway setup --undo takes it back."),
        }
    }
    Ok(())
}

fn tell(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

fn layout(machine: &Machine) -> String {
    let mut rows =
        vec![["NIC", "PCI", "model", "driver", "DPDK", "node", "link", "used by"].map(String::from)];
    for nic in &machine.nics {
        let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let link = match (nic.has_link, nic.mbps) {
            (true, Some(mbps)) => format!("{mbps} Mbit/s"),
            (true, None) => "up".into(),
            (false, _) => "-".into(),
        };
        rows.push([
            nic.name().to_owned(),
            or_dash(nic.pci.as_deref()),
            nic.model.clone(),
            or_dash(nic.driver.as_deref()),
            or_dash(nic.dpdk),
            nic.node.map_or("-".into(), |node| node.to_string()),
            link,
            or_dash(nic.used_by().as_deref()),
        ]);
    }
    let mut text = table(&rows);
    text.push_str("\ncores:");
    for core in &machine.cores {
        text += &format!(" {}", core.id);
        if core.isolated {
            text.push_str(" (isolated)");
        }
        if let Some(sibling) = core.siblings.first().filter(|sibling| **sibling < core.id) {
            text += &format!(" (beside {sibling})");
        }
        if core.node > 0 {
            text += &format!(" (node {})", core.node);
        }
    }
    for pool in &machine.hugepages {
        text += &format!(
            "\nnode {}: {} hugepages of {} KiB, {} free",
            pool.node, pool.pages, pool.page_kb, pool.free
        );
    }
    text + &format!("\nIOMMU: {}\n", if machine.iommu { "in use" } else { "none" })
}

fn proposal(plan: &Plan) -> String {
    let mut text = String::from("\nproposed:\n");
    for PlannedPort { name, is_uplink, device, bind, .. } in &plan.ports {
        let role = if *is_uplink { "uplink" } else { "trunk" };
        let by = bind.map_or(String::new(), |driver| format!(", bound to {}", driver.name()));
        text += &format!("  port {name} ({role}): {device}{by}\n");
    }
    let cores: Vec<String> = plan.workers.iter().map(usize::to_string).collect();
    text += &format!("  workers on cores {}; {} MiB of packet memory\n", cores.join(", "), plan.memory_mb);
    for Pages { node, page_kb, pages } in &plan.hugepages {
        text += &format!("  {pages} hugepages of {page_kb} KiB on node {node}\n");
    }
    for remark in &plan.remarks {
        text += &format!("- {remark}\n");
    }
    text
}

fn table(rows: &[[String; 8]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at))).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}
