//! The benchmark harness: `./dev bench`.
//!
//! Scenario *pipeline*: the worker's own code over buffers in memory, one core, no kernel and no DPDK. Site A packs and
//! seals what its trunk receives, site B opens and unpacks it. Each row is measured in short turns, interleaved with
//! the bare AES-GCM calls of the same octets, and shows medians; so the ratio holds on a noisy machine.
#![allow(clippy::print_stdout)]

mod alloc;
mod clock;
mod site;

use clap::Parser;
use record::{Cipher, Engine, KeyLimits, LaneId, LaneSecret, Suite, TxLane};

use crate::site::Pair;

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// Frame sizes in octets from the destination address on, without FCS.
const SIZES: &[usize] = &[64, 128, 256, 512, 1024, 1514, 8914];

/// WAN MTUs.
const WAN_MTUS: &[u16] = &[1500, 9000];

#[derive(Parser)]
struct Cli {
    /// Fewer turns.
    #[arg(long)]
    quick: bool,
}

struct Turn {
    encrypt: f64,
    decrypt: f64,
    bare: f64,
}

fn main() {
    let cli = Cli::parse();
    let eal =
        dpdk::Eal::init(&dpdk::EalConfig { hugepages: false, memory_mb: 512, pci: vec![] }).expect("EAL");
    let _registered = dpdk::ThreadRegistration::register();
    let pool = dpdk::MbufPool::new(&eal, "bench", 8191, 10_240).expect("pool");
    let turns = if std::env::var("TURNS").is_ok() {
        600
    } else if cli.quick {
        7
    } else {
        31
    };
    for engine in Engine::ALL {
        println!(
            "pipeline, one core, AES-128-GCM ({}), clk per frame: medians of {turns} turns (spread)",
            engine.name()
        );
        println!(
            "{:>5} {:>5} {:>5}  {:>16} {:>16} {:>10}  {:>7} {:>7}  {:>11}",
            "WAN", "frame", "burst", "encrypt", "decrypt", "AEAD", "enc/AE", "dec/AE", "alloc/frame"
        );
        for (wan_mtu, size, burst) in [
            (1500, 64, 1),
            (1500, 64, 4),
            (1500, 64, 32),
            (1500, 64, 64),
            (1500, 256, 64),
            (1500, 512, 64),
            (1500, 1024, 64),
            (1500, 1514, 64),
            (1500, 1514, 32),
            (9000, 64, 64),
            (9000, 1514, 64),
            (9000, 8914, 64),
        ] {
            if let Ok(only) = std::env::var("ONLY") {
                if only != format!("{wan_mtu}/{size}/{burst}/{}", engine.name()) {
                    continue;
                }
            }
            row(&pool, wan_mtu, size, burst, engine, turns);
        }
    }
}

fn row(pool: &dpdk::MbufPool, wan_mtu: u16, size: usize, burst: usize, engine: Engine, turns: usize) {
    let suite = Suite { cipher: Cipher::Aes128Gcm, engine };
    let mut pair = Pair::new(pool, wan_mtu, size, suite, burst);
    let rounds = (800_000 / size / burst.min(8)).clamp(50, 2000);
    pair.turn(rounds);
    let before = pair.allocations();
    let measured: Vec<Turn> = (0..turns)
        .map(|_| {
            let (encrypt, decrypt) = pair.turn(rounds);
            let per_frame = |ticks: u64| ticks as f64 / (rounds * burst) as f64;
            let bare = bare_aead(suite, pair.record_octets(), pair.records_per_burst(), rounds);
            Turn { encrypt: per_frame(encrypt), decrypt: per_frame(decrypt), bare: per_frame(bare) }
        })
        .collect();
    let allocations = pair.allocations() - before;
    let (encrypt, es) = median(&measured, |turn| turn.encrypt);
    let (decrypt, ds) = median(&measured, |turn| turn.decrypt);
    let (bare, _) = median(&measured, |turn| turn.bare);
    println!(
        "{wan_mtu:>5} {size:>5} {burst:>5}  {encrypt:>8.1} ({es:>4.0}%) {decrypt:>8.1} ({ds:>4.0}%) {bare:>10.1}  {:>7.2} {:>7.2}  {:>11.5}",
        encrypt / bare,
        decrypt / bare,
        allocations as f64 / (turns * rounds * burst) as f64
    );
}

fn bare_aead(suite: Suite, octets: usize, records: usize, rounds: usize) -> u64 {
    let id = LaneId::new(1).expect("24 bits");
    let limits = KeyLimits { aes_blocks: u64::MAX / 2, age: std::time::Duration::from_secs(1 << 30) };
    let mut lane = TxLane::new(id, suite, LaneSecret::new([3; 32]), limits, std::time::Duration::ZERO);
    let mut memory = vec![0; octets + record::OVERHEAD];
    let start = clock::now();
    for _ in 0..rounds * records {
        std::hint::black_box(lane.seal(&mut memory, std::time::Duration::ZERO).is_ok());
    }
    clock::now() - start
}

fn median(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = turns.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    (at(0.5), 100.0 * (at(0.75) - at(0.25)) / at(0.5))
}
