//! Parallel paths and what they carry, in virtual time: death and return, loss of probes, black holes.
#![allow(missing_docs, unreachable_pub)]

mod world;

use std::collections::HashSet;
use std::time::Duration;

use session::{ClientParams, PathState};
use world::*;

/// Octets of the largest record of an uplink with MTU 1500 over IPv4.
const FULL: u16 = 1472;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sends a frame each way in every step; returns those that were sent towards the server.
fn traffic(world: &mut World, at: usize, time: Duration, from: u64) -> HashSet<u64> {
    let steps = (time.as_millis() / STEP.as_millis()) as u64;
    for number in from..from + steps {
        world.send(at, true, number);
        world.send(at, false, number);
        world.step();
    }
    (from..from + steps).collect()
}

fn two_uplinks(seed: u64) -> (World, usize) {
    let mut world = World::new(seed, &["oslo"]);
    let oslo = world.spoke_with_uplinks("oslo", 2);
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
    world.run(ms(500));
    assert_eq!(world.used(oslo), [[0, 1], [0, 1]]);
    (world, oslo)
}

#[test]
fn two_uplinks_are_two_paths() {
    let (mut world, oslo) = two_uplinks(21);
    traffic(&mut world, oslo, ms(2000), 0);
    for plane in [&world.hub, &world.spokes[oslo].plane] {
        assert!(plane.by_path[0] > 100 && plane.by_path[1] > 100, "{:?}", plane.by_path);
    }
    let status = world.server.status().swap_remove(0);
    assert_eq!(status.paths.len(), 2);
    for path in &status.paths {
        assert_eq!(path.state, PathState::Up);
        assert!(
            path.round_trip.is_some_and(|time| time >= 2 * LATENCY) && path.loss == Some(0.0),
            "{path:?}"
        );
    }
}

#[test]
fn a_path_that_dies_is_left_within_a_second_and_taken_again() {
    for dead in 0..2 {
        let (mut world, oslo) = two_uplinks(30 + dead as u64);
        world.lines[dead] = false;
        traffic(&mut world, oslo, ms(900), 0);
        assert_eq!(world.used(oslo), [[1 - dead], [1 - dead]]);
        let sent = traffic(&mut world, oslo, ms(8000), 10_000);
        world.run(ms(100));
        let got: HashSet<u64> = world.hub.got.iter().copied().collect();
        assert!(sent.is_subset(&got), "nothing goes the dead way");
        assert!(!world.logged("is down"), "{:#?}", world.log);

        world.lines[dead] = true;
        traffic(&mut world, oslo, ms(900), 20_000);
        assert_eq!(world.used(oslo), [[1 - dead], [1 - dead]], "not at once");
        let sent = traffic(&mut world, oslo, ms(2000), 30_000);
        world.run(ms(100));
        assert_eq!(world.used(oslo), [[0, 1], [0, 1]]);
        let got: HashSet<u64> = world.hub.got.iter().copied().collect();
        assert!(sent.is_subset(&got), "nothing is lost when it comes back");
    }
}

#[test]
fn a_path_that_was_dead_for_minutes_comes_back() {
    let (mut world, oslo) = two_uplinks(33);
    world.lines[1] = false;
    world.run(Duration::from_secs(270));
    assert_eq!(world.used(oslo), [[0], [0]]);
    world.lines[1] = true;
    world.run(ms(3000));
    assert_eq!(world.used(oslo), [[0, 1], [0, 1]], "{:#?}", world.log);
    assert_eq!(world.spokes[oslo].client.status().renewals, 0, "under the same keys");
}

/// The end that still hears learns from the other that it is not heard.
#[test]
fn a_path_that_is_dead_one_way_is_left_by_both() {
    let (mut world, oslo) = two_uplinks(40);
    world.deaf[1] = true;
    world.run(ms(950));
    assert_eq!(world.used(oslo), [[0], [0]]);
    world.deaf[1] = false;
    world.run(ms(2500));
    assert_eq!(world.used(oslo), [[0, 1], [0, 1]]);
}

#[test]
fn the_control_connection_leaves_a_dead_uplink() {
    let (mut world, oslo) = two_uplinks(41);
    world.lines[0] = false;
    world.run(ms(3000));
    assert_eq!(world.spokes[oslo].client.status().renewals, 1, "{:#?}", world.log);
    world.lines[1] = false;
    world.lines[0] = true;
    world.run(ms(2500));
    assert!(!world.logged("is down"), "{:#?}", world.log);
    assert!(world.run_until(|world| world.spokes[oslo].client.status().renewals == 2), "{:#?}", world.log);
}

#[test]
fn an_uplink_that_is_dead_from_the_start_keeps_nobody_out() {
    for dead in 0..2 {
        let mut world = World::new(50, &["oslo"]);
        world.lines[dead] = false;
        let oslo = world.spoke_with_uplinks("oslo", 2);
        let up = |world: &World| world.used(oslo) == [[1 - dead], [1 - dead]];
        assert!(world.run_until(up), "{:#?}", world.log);
        assert!(world.now < Duration::from_secs(16), "{:?}", world.now);
        let sent = traffic(&mut world, oslo, ms(3000), 0);
        world.run(ms(100));
        let got: HashSet<u64> = world.hub.got.iter().copied().collect();
        assert!(sent.is_subset(&got));
        world.lines[dead] = true;
        assert!(world.run_until(|world| world.used(oslo) == [[0, 1], [0, 1]]));
    }
}

#[test]
fn all_paths_dead_is_a_dead_peer() {
    let (mut world, oslo) = two_uplinks(60);
    world.lines = [false; 4];
    world.run(ms(3500));
    assert!(world.spokes[oslo].client.view().is_none());
    world.lines = [true; 4];
    assert!(world.run_until(|world| world.used(oslo) == [[0, 1], [0, 1]]), "{:#?}", world.log);
}

/// The uplink that the session died on is not the first that is tried.
#[test]
fn after_a_silence_another_uplink_is_tried_first() {
    let (mut world, oslo) = two_uplinks(61);
    world.lines = [false; 4];
    assert!(world.run_until(|world| world.spokes[oslo].client.view().is_none()));
    world.lines[1] = true;
    let before = world.now;
    assert!(world.run_until(|world| world.used(oslo) == [[1], [1]]), "{:#?}", world.log);
    assert!(world.now - before < ms(4000), "{:?}", world.now - before);
}

#[test]
fn the_largest_record_is_found() {
    for (largest, least) in [(1472, 1472), (9000, 1472), (1424, 1416), (1201, 1200), (1000, 992), (548, 548)]
    {
        let mut world = World::new(70, &["oslo"]);
        world.largest = [largest.into(); 4];
        let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
        assert!(world.run_until(|world| world.is_up(oslo)));
        traffic(&mut world, oslo, ms(20_000), 0);
        for size in world.record_size(oslo, 0) {
            assert!(size >= least && size <= largest.min(FULL), "{size} for {largest}");
        }
    }
}

#[test]
fn a_path_that_carries_all_is_known_within_a_few_round_trips() {
    let mut world = World::new(71, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.run(ms(400));
    assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
}

#[test]
fn a_black_hole_is_left_at_once_and_larger_records_are_tried_later() {
    for seed in 80..85 {
        let mut world = World::new(seed, &["oslo"]);
        let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
        assert!(world.run_until(|world| world.is_up(oslo)));
        traffic(&mut world, oslo, ms(3000), 0);
        assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
        world.largest = [1272; 4];
        traffic(&mut world, oslo, ms(1600), 10_000);
        let sent = traffic(&mut world, oslo, ms(8000), 20_000);
        world.run(ms(100));
        let got: HashSet<u64> = world.hub.got.iter().copied().collect();
        assert!(sent.is_subset(&got), "it stalls no longer than that");
        for size in world.record_size(oslo, 0) {
            assert!((1264..=1272).contains(&size), "{size}");
        }
        assert!(!world.logged("is down"));
        world.largest = [9000; 4];
        traffic(&mut world, oslo, RAISE_AFTER + ms(1000), 50_000);
        assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
    }
}

/// What is lost of an idle path's MTU shows when frames are sent again.
#[test]
fn a_black_hole_of_an_idle_path_is_found_when_frames_are_sent() {
    let mut world = World::new(90, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.run(ms(1000));
    world.largest = [1272; 4];
    world.run(ms(60_000));
    assert_eq!(world.record_size(oslo, 0), [FULL; 2], "nobody looked");
    traffic(&mut world, oslo, ms(1600), 0);
    assert!(world.record_size(oslo, 0).iter().all(|size| *size <= 1272));
}

/// Lost small records tell a bad path from a small one.
#[test]
fn loss_is_not_taken_for_a_black_hole() {
    let mut world = World::new(91, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.run(ms(1000));
    world.loss = 10;
    let (mut small, mut steps) = (0, 0);
    for round in 0..600 {
        traffic(&mut world, oslo, ms(100), round * 100);
        steps += 2;
        small += world.record_size(oslo, 0).iter().filter(|size| **size < FULL).count();
    }
    assert!(small * 50 < steps, "small {small} of {steps}");
    // Nothing at all gets through: the size stays what it was.
    world.loss = 0;
    world.run(RAISE_AFTER + ms(2000));
    assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
    world.udp = false;
    traffic(&mut world, oslo, ms(2500), 100_000);
    assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
}

#[test]
fn the_uplinks_mtu_and_line_are_followed() {
    let (mut world, oslo) = two_uplinks(92);
    let now = world.now;
    let mut uplinks = uplinks(2);
    uplinks.0[1].mtu = 1400;
    world.spokes[oslo].client.set_uplinks(now, uplinks.clone());
    world.run(ms(500));
    assert_eq!(world.record_size(oslo, 1), [1372, FULL]);
    assert_eq!(world.record_size(oslo, 0), [FULL; 2]);
    uplinks.0[1].up = false;
    let now = world.now;
    world.spokes[oslo].client.set_uplinks(now, uplinks);
    world.step();
    assert_eq!(world.used(oslo)[0], [0], "a line that is down is known at once");
}

#[test]
fn a_client_that_begins_anew_knows_its_uplinks_still() {
    let (mut world, oslo) = two_uplinks(94);
    let (now, mut down) = (world.now, uplinks(2));
    down.0[0].up = false;
    world.lines[0] = false;
    world.spokes[oslo].client.set_uplinks(now, down);
    let params = world.client_params("oslo", "secret", Duration::from_secs(600));
    let params = ClientParams { uplinks: uplinks(2), ..params };
    world.spokes[oslo].client.restart(now, params);
    world.run(ms(1000));
    assert!(world.is_up(oslo), "it does not try the dead one first: {:#?}", world.log);
    assert_eq!(world.used(oslo)[0], [1]);
}
