//! The device under test (`perf dut`): one thread that polls two memif ports and runs site A and site B between them, or
//! nothing but a forwarder. It is told what to do on stdin and answers on stdout, a line each.

use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dpdk::{Eal, EalConfig, MbufPool, RxQueue, TxQueue};
use serde::{Deserialize, Serialize};

use crate::cli::{DutArgs, Mode};
use crate::cores::Pinned;
use crate::ports::{PORT, Side, device, socket};
use crate::site::{self, BURST, Burst, Out, Shape, Site};

/// Buffers for both rings of both ports and all that is on its way.
const BUFFERS: u32 = 16_383;

/// How often orders are looked for, in rounds.
const ROUNDS: u32 = 256;

/// What the device says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Addresses known at site A and at site B.
    pub(crate) macs: [usize; 2],
    /// The longest time between two rounds since this was asked last, in us: long ones are the kernel's doing, which gave
    /// the core to somebody else.
    pub(crate) longest_gap_us: u64,
    /// Drops by reason at both sites.
    pub(crate) drops: Vec<(String, u64)>,
    /// Frames that a port did not take.
    pub(crate) not_taken: u64,
}

/// One port.
struct Port {
    rx: RxQueue,
    tx: TxQueue,
    not_taken: u64,
}

impl Port {
    /// Sends all of `bufs`; what the port does not take is dropped, as the appliance does.
    fn send(&mut self, bufs: &mut Vec<dpdk::Mbuf>) {
        while !bufs.is_empty() {
            let take = bufs.len().min(BURST);
            let mut burst: Burst = bufs.drain(..take).collect();
            self.send_burst(&mut burst);
        }
    }

    fn send_burst(&mut self, burst: &mut Burst) {
        self.tx.burst(burst);
        self.not_taken += burst.len() as u64;
        dpdk::free_burst(burst);
    }
}

/// Both sites, each with what it sends.
struct Sites {
    a: Site,
    b: Site,
    from_a: Out,
    from_b: Out,
}

/// Runs until told to end.
pub(crate) fn run(args: &DutArgs) -> Result<(), String> {
    let text = |error: dpdk::Error| error.to_string();
    let eal = Eal::init(&EalConfig { hugepages: false, memory_mb: 256, pci: vec![] }).map_err(text)?;
    let _pinned = Pinned::to(args.core)?;
    let pool = MbufPool::new(&eal, "dut", BUFFERS, 2304).map_err(text)?;
    let open = |number, side| -> Result<_, String> {
        // A socket that is left over would be taken for one in use.
        let _ = std::fs::remove_file(socket(side, &args.dir));
        let port = eal.open(&device(number, side, "server", &args.dir)).map_err(text)?;
        let (port, mut queues) = port.start(&PORT, &pool).map_err(text)?;
        let (rx, tx) = queues.pop().ok_or("a port without queues")?;
        Ok((port, Port { rx, tx, not_taken: 0 }))
    };
    let (_port_a, mut a) = open(0, Side::A)?;
    let (_port_b, mut b) = open(1, Side::B)?;
    let mut sites = (args.mode == Mode::Causeway).then(|| {
        let shape = Shape::base();
        let common = |id| site::common(id, &shape, args.max_macs, false);
        let (a, b) = site::pair(common(1), common(2), &shape, &pool, 0);
        Sites { a, b, from_a: Out::new(), from_b: Out::new() }
    });
    let orders = orders();
    say("ready");
    let start = Instant::now();
    let (mut last, mut longest) = (Duration::ZERO, Duration::ZERO);
    loop {
        for _ in 0..ROUNDS {
            let now = start.elapsed();
            longest = longest.max(now - last);
            last = now;
            match &mut sites {
                Some(sites) => sites.round(&mut a, &mut b, now),
                None => forward(&mut a, &mut b),
            }
        }
        match orders.try_recv().as_deref() {
            Ok("stats") => {
                let stats = stats(&sites, &[&a, &b], longest);
                longest = Duration::ZERO;
                say(&serde_json::to_string(&stats).map_err(|error| error.to_string())?);
                last = start.elapsed();
            }
            Ok("flush") => {
                for site in sites.iter().flat_map(|sites| [&sites.a, &sites.b]) {
                    site.fdb().flush(|_| true);
                }
                say("flushed");
            }
            Ok("quit") => return Ok(()),
            _ => {}
        }
    }
}

impl Sites {
    /// One round of the poll loops of both appliances.
    fn round(&mut self, port_a: &mut Port, port_b: &mut Port, now: Duration) {
        let Self { a, b, from_a, from_b } = self;
        a.at(now);
        b.at(now);
        let mut burst = Burst::new();
        if port_a.rx.burst(&mut burst) > 0 {
            a.trunk(&mut burst, from_a);
            a.finish(from_a);
            cross(&mut from_a.wan, b, from_b);
        }
        if port_b.rx.burst(&mut burst) > 0 {
            b.trunk(&mut burst, from_b);
            b.finish(from_b);
            cross(&mut from_b.wan, a, from_a);
        }
        port_a.send(&mut from_a.lan);
        port_b.send(&mut from_b.lan);
    }
}

/// The WAN: no time, no loss.
fn cross(wan: &mut Vec<dpdk::Mbuf>, to: &mut Site, out: &mut Out) {
    while !wan.is_empty() {
        let take = wan.len().min(BURST);
        let mut burst: Burst = wan.drain(..take).collect();
        to.uplink(&mut burst, out);
    }
    to.finish(out);
}

fn forward(a: &mut Port, b: &mut Port) {
    let mut burst = Burst::new();
    if a.rx.burst(&mut burst) > 0 {
        b.send_burst(&mut burst);
    }
    if b.rx.burst(&mut burst) > 0 {
        a.send_burst(&mut burst);
    }
}

fn stats(sites: &Option<Sites>, ports: &[&Port], longest: Duration) -> Stats {
    let both = sites.iter().flat_map(|sites| [&sites.a, &sites.b]);
    Stats {
        macs: sites.as_ref().map_or([0, 0], |sites| [sites.a.fdb().len(), sites.b.fdb().len()]),
        longest_gap_us: longest.as_micros() as u64,
        drops: both.flat_map(Site::drops).map(|(reason, count)| (reason.to_owned(), count)).collect(),
        not_taken: ports.iter().map(|port| port.not_taken).sum(),
    }
}

/// Lines of stdin, read by a thread of their own. The end of stdin is an order, too: the generator is gone.
fn orders() -> Receiver<String> {
    let (tell, orders) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
        let _ = tell.send("quit".into());
    });
    orders
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}
