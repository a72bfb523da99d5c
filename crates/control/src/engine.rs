//! Chooses who computes AES-GCM on this machine.

use std::time::{Duration, Instant};

use config::Aead;
use record::{Cipher, Engine, KeyLimits, LaneId, LaneSecret, Suite, TxLane};

/// Records of these sizes are sealed to compare engines: a full one, and one of a few small frames.
const SIZES: [usize; 2] = [1448, 256];

/// Records of a turn, and turns of each engine; the fastest turn counts.
const RECORDS: usize = 64;
const TURNS: usize = 8;

/// The engine that the configuration asks for, or the fastest here.
pub(crate) fn choose(wanted: Aead) -> Engine {
    let engine = match wanted {
        Aead::Ring => Engine::Ring,
        Aead::IpsecMb if Engine::IpsecMb.is_available() => Engine::IpsecMb,
        Aead::IpsecMb => {
            tracing::warn!("aead = \"ipsec-mb\" is not available on this machine: ring takes its place");
            Engine::Ring
        }
        Aead::Auto => fastest(),
    };
    tracing::info!(engine = engine.name(), "AES-GCM");
    engine
}

fn fastest() -> Engine {
    let available = Engine::ALL.into_iter().filter(|engine| engine.is_available());
    available.min_by_key(|engine| time(*engine)).unwrap_or(Engine::Ring)
}

/// How long the engine takes for one turn.
fn time(engine: Engine) -> Duration {
    let Some(id) = LaneId::new(0) else { return Duration::MAX };
    let suite = Suite { cipher: Cipher::Aes128Gcm, engine };
    let mut lane = TxLane::new(id, suite, LaneSecret::new([0; 32]), KeyLimits::default(), Duration::ZERO);
    let mut record = [0; SIZES[0]];
    let turn = || {
        let start = Instant::now();
        for size in SIZES {
            for _ in 0..RECORDS {
                std::hint::black_box(lane.seal(&mut record[..size], Duration::ZERO).is_ok());
            }
        }
        start.elapsed()
    };
    std::iter::repeat_with(turn).take(TURNS).min().unwrap_or(Duration::MAX)
}
