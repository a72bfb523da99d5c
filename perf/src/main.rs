//! The benchmark harness: `./dev bench`.
//!
//! Scenario *pipeline*: the worker's own code over buffers in memory, one core, no kernel and no DPDK. Site A packs and
//! seals what its trunk receives, site B opens and unpacks it. Each row is measured in short turns, interleaved with
//! the bare AES-GCM calls of the same octets, and shows medians; so the ratio holds on a noisy machine.
#![allow(clippy::print_stdout)]

mod alloc;
mod pool;
mod site;

use std::time::{Duration, Instant};

use clap::Parser;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

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

/// What a turn took, in ns per frame.
#[derive(Clone, Copy)]
struct Turn {
    encrypt: f64,
    decrypt: f64,
    bare: f64,
}

fn main() {
    let turns = if Cli::parse().quick { 5 } else { 21 };
    println!(
        "pipeline, one core, AES-128-GCM (ring), bursts of 32, ns per frame: medians of {turns} turns (spread)"
    );
    println!(
        "{:>5} {:>5}  {:>16} {:>16} {:>10}  {:>7} {:>7}  {:>11}",
        "WAN", "frame", "encrypt", "decrypt", "AEAD", "enc/AE", "dec/AE", "alloc/frame"
    );
    for wan_mtu in WAN_MTUS {
        for size in SIZES {
            row(*wan_mtu, *size, turns);
        }
    }
}

fn row(wan_mtu: u16, size: usize, turns: usize) {
    let mut pair = Pair::new(wan_mtu, size);
    let rounds = (400_000 / size).clamp(50, 2000);
    pair.turn(rounds); // learn, fill caches
    let before = pair.allocations();
    let measured: Vec<Turn> = (0..turns)
        .map(|_| {
            let (encrypt, decrypt) = pair.turn(rounds);
            let frames = (rounds * pipeline::BURST) as f64;
            let per_frame = |time: Duration| time.as_nanos() as f64 / frames;
            let bare = bare_aead(pair.record_octets(), pair.records_per_burst(), rounds);
            Turn { encrypt: per_frame(encrypt), decrypt: per_frame(decrypt), bare: per_frame(bare) }
        })
        .collect();
    let allocations = pair.allocations() - before;
    let frames = (turns * rounds * pipeline::BURST) as f64;
    let (encrypt, encrypt_spread) = median(&measured, |turn| turn.encrypt);
    let (decrypt, decrypt_spread) = median(&measured, |turn| turn.decrypt);
    let (bare, _) = median(&measured, |turn| turn.bare);
    println!(
        "{wan_mtu:>5} {size:>5}  {encrypt:>8.1} ({encrypt_spread:>4.0}%) {decrypt:>8.1} ({decrypt_spread:>4.0}%) {bare:>10.1}  {:>7.2} {:>7.2}  {:>11.5}",
        encrypt / bare,
        decrypt / bare,
        allocations as f64 / frames
    );
}

/// Seals as many octets in as many records as a burst makes, and nothing else.
fn bare_aead(octets: usize, records: usize, rounds: usize) -> Duration {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("16 octets"));
    let mut memory = vec![0; octets];
    let start = Instant::now();
    for round in 0..rounds * records {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&(round as u64).to_be_bytes());
        let sealed = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from([0; 8]),
            &mut memory,
        );
        std::hint::black_box(sealed.is_ok());
    }
    start.elapsed()
}

/// The median, and the distance between the quartiles in percent of it.
fn median(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = turns.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    (at(0.5), 100.0 * (at(0.75) - at(0.25)) / at(0.5))
}
