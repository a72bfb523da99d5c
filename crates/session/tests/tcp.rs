//! Records over TCP when UDP does not get through, and back, in virtual time.
#![allow(missing_docs, unreachable_pub)]

mod world;

use std::collections::HashSet;
use std::time::Duration;

use session::{ClientParams, PathState, State};
use world::*;

const LONG: Duration = Duration::from_secs(600);
const UDP: usize = 0;
const TCP: usize = 1;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sends a frame each way in every step; returns their numbers.
fn traffic(world: &mut World, time: Duration, from: u64) -> HashSet<u64> {
    let steps = (time.as_millis() / STEP.as_millis()) as u64;
    for number in from..from + steps {
        world.send(0, true, number);
        world.send(0, false, number);
        world.step();
    }
    (from..from + steps).collect()
}

/// Whether both ends got all of these, and nothing twice.
fn all_arrived(world: &World, sent: &HashSet<u64>) -> bool {
    [&world.hub.got, &world.spokes[0].plane.got].iter().all(|got| {
        let set: HashSet<u64> = got.iter().copied().collect();
        assert_eq!(set.len(), got.len(), "a frame came twice");
        sent.is_subset(&set)
    })
}

fn with_tcp(world: &mut World, rekey: Duration) -> usize {
    let params = world.client_params("oslo", "secret", rekey);
    world.spoke_with(ClientParams { tcp: true, ..params })
}

fn both_up(world: &World) -> bool {
    world.spokes[0].client.status().state == State::Up && world.server.status()[0].state == State::Up
}

/// A session that has come up, with UDP.
fn up(seed: u64) -> World {
    let mut world = World::new(seed, &["oslo"]);
    with_tcp(&mut world, LONG);
    assert!(world.run_until(|world| world.used(0) == [[UDP], [UDP]]), "{:#?}", world.log);
    world
}

#[test]
fn frames_go_by_tcp_until_udp_is_proven_and_none_is_lost() {
    let mut world = World::new(70, &["oslo"]);
    with_tcp(&mut world, LONG);
    assert!(world.run_until(both_up), "{:#?}", world.log);
    let sent = traffic(&mut world, ms(1000), 0);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent));
    assert_eq!(world.used(0), [[UDP], [UDP]]);
    let status = world.server.status().swap_remove(0);
    assert_eq!(
        status.paths.iter().map(|path| path.state).collect::<Vec<_>>(),
        [PathState::Up, PathState::Standby]
    );
    assert!(status.transport.is_some_and(|carrier| !carrier.tcp && carrier.why == "UDP gets through"));
}

#[test]
fn udp_that_never_gets_through_costs_nothing() {
    let mut world = World::new(71, &["oslo"]);
    world.udp = false;
    with_tcp(&mut world, LONG);
    assert!(world.run_until(both_up), "{:#?}", world.log);
    let sent = traffic(&mut world, Duration::from_secs(20), 0);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent), "from the first frame on");
    assert_eq!(world.used(0), [[TCP], [TCP]]);
    assert!(!world.logged("is down"), "{:#?}", world.log);
}

/// Both ends leave UDP within a second and a bit, whichever way it is blocked, and come back.
#[test]
fn blocked_udp_is_left_and_taken_again() {
    for (case, [mute, deaf]) in [[true, true], [true, false], [false, true]].into_iter().enumerate() {
        let mut world = up(80 + case as u64);
        (world.mute, world.deaf[0]) = (mute, deaf);
        traffic(&mut world, ms(1400), 0);
        assert_eq!(world.used(0), [[TCP], [TCP]], "mute {mute}, deaf {deaf}: {:#?}", world.log);
        let sent = traffic(&mut world, Duration::from_secs(10), 10_000);
        world.run(ms(200));
        assert!(all_arrived(&world, &sent), "mute {mute}, deaf {deaf}");
        assert!(world.server.status()[0].transport.is_some_and(|carrier| carrier.tcp));
        (world.mute, world.deaf[0]) = (false, false);
        let sent = traffic(&mut world, Duration::from_secs(4), 20_000);
        world.run(ms(200));
        assert!(all_arrived(&world, &sent), "nothing is lost on the way back");
        assert_eq!(world.used(0), [[UDP], [UDP]]);
        assert!(!world.logged("is down"), "{:#?}", world.log);
        assert!(world.logged("go by TCP: ") && world.logged("go by UDP: UDP gets through"));
    }
}

/// Minutes of echo requests that nobody gets take both ends' keys of the UDP path several phases on.
#[test]
fn udp_that_was_blocked_for_minutes_is_taken_again() {
    let mut world = World::new(85, &["oslo"]);
    with_tcp(&mut world, Duration::from_secs(840));
    assert!(world.run_until(|world| world.used(0) == [[UDP], [UDP]]), "{:#?}", world.log);
    world.udp = false;
    world.run(Duration::from_secs(300));
    assert_eq!(world.used(0), [[TCP], [TCP]]);
    world.udp = true;
    world.run(Duration::from_secs(4));
    assert_eq!(world.used(0), [[UDP], [UDP]], "{:#?}", world.log);
    assert_eq!(world.spokes[0].client.status().renewals, 0, "under the same keys");
}

/// Renewal every second while frames go by TCP: none is lost with the old connection.
#[test]
fn renewal_over_tcp_loses_nothing() {
    let mut world = World::new(90, &["oslo"]);
    world.udp = false;
    with_tcp(&mut world, Duration::from_secs(2));
    assert!(world.run_until(both_up), "{:#?}", world.log);
    let sent = traffic(&mut world, Duration::from_secs(20), 0);
    world.run(ms(500));
    assert!(world.spokes[0].client.status().renewals >= 8);
    assert!(all_arrived(&world, &sent), "{:#?}", world.log);
}

#[test]
fn a_session_on_tcp_outlives_its_connection() {
    let mut world = World::new(91, &["oslo"]);
    world.udp = false;
    with_tcp(&mut world, LONG);
    assert!(world.run_until(both_up));
    world.run(Duration::from_secs(2));
    world.reset_tcp();
    assert!(world.run_until(|world| world.spokes[0].client.status().renewals == 1), "{:#?}", world.log);
    let sent = traffic(&mut world, ms(1000), 0);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent));
    assert!(!world.logged("is down"), "{:#?}", world.log);
}

#[test]
fn a_connection_that_only_seems_open_is_made_anew_while_udp_carries_frames() {
    let mut world = up(92);
    world.frozen = true;
    let sent = traffic(&mut world, Duration::from_secs(9), 0);
    assert!(world.logged("lost the control connection: nothing comes by it"), "{:#?}", world.log);
    world.frozen = false;
    assert!(world.run_until(|world| world.spokes[0].client.status().renewals == 1), "{:#?}", world.log);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent));
    assert!(!world.logged("is down"), "{:#?}", world.log);
}

#[test]
fn without_both_a_session_is_dead() {
    let mut world = up(93);
    (world.udp, world.frozen) = (false, true);
    world.run(Duration::from_secs(5));
    assert_eq!(world.server.status()[0].state, State::Down);
    (world.udp, world.frozen) = (true, false);
    assert!(world.run_until(|world| world.used(0) == [[UDP], [UDP]]), "{:#?}", world.log);
}

#[test]
fn a_client_without_udp_uses_tcp_alone() {
    let mut world = World::new(94, &["oslo"]);
    let params = world.client_params("oslo", "secret", LONG);
    world.spoke_with(ClientParams { tcp: true, udp: false, ..params });
    assert!(world.run_until(both_up), "{:#?}", world.log);
    let sent = traffic(&mut world, Duration::from_secs(5), 0);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent));
    assert_eq!(world.used(0), [[TCP], [TCP]]);
    assert_eq!(world.hub.by_path[UDP], 0);
}

#[test]
fn a_server_can_refuse() {
    let mut world = World::without_tcp(95, &["oslo", "lima"]);
    with_tcp(&mut world, LONG);
    assert!(world.run_until(|world| world.is_up(0)), "{:#?}", world.log);
    assert_eq!(world.spokes[0].client.view().expect("up").paths.len(), 1);
    let params = world.client_params("lima", "secret", LONG);
    let lima = world.spoke_with(ClientParams { tcp: true, udp: false, ..params });
    world.run(Duration::from_secs(2));
    let (_, why) = world.spokes[lima].client.status().last_failure.expect("refused");
    assert!(why.contains("takes no records over TCP"), "{why}");
}

/// A server whose setting for this changes while a session goes by either: frames go on, and both ends say how.
#[test]
fn a_server_may_change_its_mind() {
    let mut world = World::new(97, &["oslo"]);
    with_tcp(&mut world, Duration::from_secs(4));
    assert!(world.run_until(|world| world.used(0) == [[UDP], [UDP]]), "{:#?}", world.log);
    let by_tcp = |world: &World| {
        let ends = [world.spokes[0].client.status(), world.server.status().swap_remove(0)];
        ends.map(|end| (end.paths.len(), end.transport.is_some_and(|carrier| carrier.tcp)))
    };
    for (round, takes) in [false, true, false].into_iter().enumerate() {
        world.server.set_tcp(takes);
        let sent = traffic(&mut world, Duration::from_secs(6), 10_000 * round as u64);
        world.run(ms(200));
        assert!(all_arrived(&world, &sent), "round {round}: {:#?}", world.log);
        assert_eq!(by_tcp(&world), [(1 + usize::from(takes), false); 2]);
    }
    world.server.set_tcp(true);
    world.run(Duration::from_secs(5));
    world.udp = false;
    world.run(Duration::from_secs(2));
    assert_eq!(by_tcp(&world), [(2, true); 2]);
    let renewals = world.spokes[0].client.status().renewals;
    world.server.set_tcp(false);
    assert!(world.run_until(|world| world.spokes[0].client.status().renewals > renewals));
    assert_eq!(by_tcp(&world), [(1, false); 2], "what it does not have carries nothing");
}

/// Well before the session is dead there is time to go over to TCP, however short that is.
#[test]
fn blocked_udp_is_left_before_the_session_is_dead() {
    for dead_peer in [400, 600, 1000, 1500] {
        let mut world = World::new(98, &["oslo"]);
        world.server.set_limits(ms(dead_peer), 8, vec![record::Cipher::Aes128Gcm]);
        with_tcp(&mut world, LONG);
        assert!(world.run_until(|world| world.used(0) == [[UDP], [UDP]]), "{:#?}", world.log);
        world.run(ms(3000));
        world.udp = false;
        world.run(ms(dead_peer));
        assert_eq!(world.used(0), [[TCP], [TCP]], "{dead_peer} ms: {:#?}", world.log);
        world.run(Duration::from_secs(20));
        world.udp = true;
        world.run(Duration::from_secs(3));
        assert_eq!(world.used(0), [[UDP], [UDP]], "{dead_peer} ms");
        assert!(!world.logged("is down"), "{dead_peer} ms: {:#?}", world.log);
    }
}

/// UDP is blocked everywhere, and the uplink dies that carries all over TCP.
#[test]
fn tcp_goes_over_to_another_uplink() {
    for line_known in [false, true] {
        let mut world = World::new(99, &["oslo"]);
        let params = world.client_params("oslo", "secret", LONG);
        world.udp = false;
        world.spoke_with(ClientParams { tcp: true, uplinks: uplinks(2), ..params });
        assert!(world.run_until(|world| world.used(0) == [[2], [2]]), "{:#?}", world.log);
        world.run(Duration::from_secs(5));
        world.lines[0] = false;
        if line_known {
            let (now, mut uplinks) = (world.now, uplinks(2));
            uplinks.0[0].up = false;
            world.spokes[0].client.set_uplinks(now, uplinks);
        }
        world.run(ms(2500));
        assert_eq!(world.spokes[0].client.status().renewals, 1, "{:#?}", world.log);
        let sent = traffic(&mut world, Duration::from_secs(5), 0);
        world.run(ms(200));
        assert!(all_arrived(&world, &sent));
        assert!(!world.logged("is down"), "{:#?}", world.log);
    }
}

#[test]
fn two_uplinks_and_tcp_behind_them() {
    let mut world = World::new(96, &["oslo"]);
    let params = world.client_params("oslo", "secret", LONG);
    world.spoke_with(ClientParams { tcp: true, uplinks: uplinks(2), ..params });
    assert!(world.run_until(|world| world.used(0) == [[0, 1], [0, 1]]), "{:#?}", world.log);
    world.run(Duration::from_secs(2));
    world.udp = false;
    world.run(ms(1000));
    assert_eq!(world.used(0), [[2], [2]]);
    let sent = traffic(&mut world, ms(1000), 0);
    world.run(ms(200));
    assert!(all_arrived(&world, &sent));
    world.udp = true;
    assert!(world.run_until(|world| world.used(0) == [[0, 1], [0, 1]]));
}
