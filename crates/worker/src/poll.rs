//! The poll loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::Cache;
use arrayvec::ArrayVec;
use dpdk::{Mbuf, ThreadRegistration};
use pipeline::tables::PortIndex;
use pipeline::{BURST, Engine, HOUSEKEEPING, Now, View};

use crate::idle::Idle;
use crate::ports::Ports;
use crate::sink::{PortSink, capture, octets_of};
use crate::{Fallback, Handover, PortQueues, WorkerParams};

/// Most orders carried out between two bursts, so that a long list does not hold traffic up.
const COMMANDS_PER_ROUND: usize = 32;

/// Rounds of a busy worker after which it polls the ports that are polled seldom.
const SELDOM: u32 = 8;

/// Polls until `stop` is set, then gives the queues back.
pub(crate) fn run(params: WorkerParams, stop: &AtomicBool) -> Vec<PortQueues> {
    let WorkerParams {
        id,
        handover,
        fallback,
        core,
        idle,
        start,
        queues,
        port_changes,
        mut pool,
        max_sessions,
        tables,
        fdb,
        counters,
        commands,
        events,
        notices,
    } = params;
    pin(id.index, core);
    // Gives the thread an lcore ID, without which it has no mempool cache.
    let registration = ThreadRegistration::register();
    if let Err(error) = &registration {
        tracing::warn!(worker = id.index, %error, "runs without a buffer cache");
    }
    let mut tables = Cache::new(tables);
    let mut engine = Engine::new(pool.clone(), id, max_sessions, events, notices);
    let mut ports = Ports::new(queues);
    let mut idle = Idle::new(idle, &ports, id.count);
    let mut burst: ArrayVec<Mbuf, BURST> = ArrayVec::new();
    let mut held = None;
    let mut tidied = Duration::ZERO;
    let mut round = 0_u32;
    // When the round before began, if it had something to do.
    let mut busy_since: Option<Duration> = None;

    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        if let Some(since) = busy_since.take() {
            counters.poll.busy_ns.add((now - since).as_nanos() as u64);
        }
        let tables = tables.load();
        let view = View { tables, fdb: &fdb, counters: &counters, now: Now(now), dry: false };
        let mut busy = false;
        round = round.wrapping_add(1);

        for command in commands.try_iter().take(COMMANDS_PER_ROUND) {
            busy = true;
            let mut sink = PortSink::new(&mut ports, view, &handover, &fallback);
            engine.command(view, &mut sink, command);
        }
        let all = round.is_multiple_of(SELDOM) || idle.is_idle();
        for slot in 0..ports.len() {
            let Some(queues) = ports.due(slot, all) else { continue };
            let port = queues.port;
            let received = queues.receive(&mut pool, &counters, &mut burst);
            if received == 0 {
                continue;
            }
            busy = true;
            counters.poll.frames.add(received as u64);
            counters.poll.bursts.add(1);
            if let Some(counters) = counters.ports.get(port.index()) {
                counters.rx_frames.add(received as u64);
                counters.rx_octets.add(octets_of(&burst));
            }
            if tables.taps.is_some() {
                capture(view, port, false, &burst);
            }
            let mut sink = PortSink::new(&mut ports, view, &handover, &fallback);
            engine.burst(view, &mut sink, port, &mut burst);
        }
        while let Some(port) = handed_over(&handover, id.index, &mut burst, &mut held) {
            busy = true;
            let mut sink = PortSink::new(&mut ports, view, &handover, &fallback);
            engine.burst(view, &mut sink, port, &mut burst);
        }
        while over_tcp(&fallback, id.index, &mut burst) {
            busy = true;
            let mut sink = PortSink::new(&mut ports, view, &handover, &fallback);
            engine.burst_over_tcp(view, &mut sink, &mut burst);
        }
        counters.poll.polls.add(1);
        if busy {
            let mut sink = PortSink::new(&mut ports, view, &handover, &fallback);
            engine.finish(view, &mut sink);
            sink.flush();
            counters.poll.busy_polls.add(1);
            busy_since = Some(now);
            idle.busy();
        } else if idle.idle(&ports) {
            counters.poll.sleeps.add(1);
        }
        if now >= tidied + HOUSEKEEPING {
            tidied = now;
            engine.housekeeping(view);
            for change in port_changes.try_iter() {
                ports.change(change);
                idle.ports_changed(&ports, id.count);
            }
        }
    }
    ports.into_queues()
}

/// Takes packets of one port that other workers have for worker `index`, and tells which port. At most one burst, of which there may
/// be another. `held` is the first packet of another port.
fn handed_over(
    handover: &Handover,
    index: usize,
    burst: &mut ArrayVec<Mbuf, BURST>,
    held: &mut Option<(PortIndex, Mbuf)>,
) -> Option<PortIndex> {
    let (port, first) = held.take().or_else(|| handover.take(index))?;
    burst.push(first);
    while !burst.is_full() {
        match handover.take(index) {
            Some((same, buf)) if same == port => burst.push(buf),
            other => {
                *held = other;
                break;
            }
        }
    }
    Some(port)
}

/// Takes records that came over TLS for worker `index`: at most one burst, of which there may be another.
fn over_tcp(fallback: &Fallback, index: usize, burst: &mut ArrayVec<Mbuf, BURST>) -> bool {
    burst.extend(std::iter::from_fn(|| fallback.received(index)).take(BURST));
    !burst.is_empty()
}

fn pin(index: usize, core: usize) {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::info!(worker = index, core, "worker runs");
    } else {
        tracing::warn!(worker = index, core, "cannot pin the worker to its core: it runs unpinned");
    }
}
