//! Sessions in virtual time: logging in, loss and reordering, restarts, renewal under traffic, conflicts.
#![allow(missing_docs, unreachable_pub)]

mod world;

use std::collections::HashSet;
use std::time::Duration;

use bridge::SessionIndex;
use record::Cipher;
use session::message::Message;
use session::question::{Detail, Question};
use session::{Admission, ClientParams, ConnId, Dial, Output, SiteParams, State};
use world::*;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_renewal_that_shortens_the_dead_peer_time_ends_no_session() {
    for seed in 0..8 {
        let mut world = World::without_tcp(seed, &["branch"]);
        let ciphers = vec![record::Cipher::Aes128Gcm];
        world.server.set_limits(Duration::from_secs(30), 8, ciphers.clone());
        let branch = world.spoke("branch", "secret", Duration::from_secs(60));
        assert!(world.run_until(|world| world.is_up(branch)));
        // What was heard last is longer ago than this when the keys are renewed.
        world.server.set_limits(Duration::from_secs(1), 8, ciphers);
        world.run(Duration::from_secs(80));
        assert!(world.is_up(branch) && !world.logged("dead-peer time"), "seed {seed}: {:#?}", world.log);
    }
}

#[test]
fn a_client_logs_in_and_both_ends_agree() {
    let mut world = World::new(1, &["oslo", "lima"]);
    let lima = world.spoke("lima", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(lima)), "{:#?}", world.log);
    let status = world.server.status();
    assert_eq!((status[0].state, status[1].state), (State::Down, State::Up));
    assert_eq!(world.spokes[lima].client.view().expect("up").segments.len(), 1, "those that both attach");
    world.run(Duration::from_secs(3));
    assert!(world.spokes[lima].client.status().round_trip.is_some_and(|time| time >= 2 * LATENCY));
}

/// Every tunnel ID there is fits into one session.
#[test]
fn a_session_of_4093_segments_comes_up() {
    let mut world = World::new(9, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    let all: Vec<u16> = (1..=4093).collect();
    let now = world.now;
    world.server.set_site(now, SessionIndex(0), SiteParams { segments: segments(&all), ..site("oslo") });
    world.spokes[oslo].client.set_segments(segments(&all));
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
    assert_eq!(world.spokes[oslo].client.view().expect("up").segments.len(), all.len());
}

#[test]
fn many_sites_at_once_under_loss() {
    for seed in 1..6 {
        let names = ["a", "b", "c", "d"];
        let mut world = World::new(seed * 77, &names);
        world.loss = 20;
        for name in names {
            world.spoke(name, "secret", LONG);
        }
        assert!(world.run_until(|world| (0..4).all(|at| world.is_up(at))), "seed {seed}: {:#?}", world.log);
        world.run(Duration::from_secs(20));
        assert!((0..4).all(|at| world.is_up(at)), "seed {seed}: {:#?}", world.log);
    }
}

/// Renewal every second while frames go both ways: none is lost.
#[test]
fn renewal_loses_nothing() {
    let mut world = World::new(5, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(2));
    assert!(world.run_until(|world| world.is_up(oslo)));
    const FRAMES: u64 = 2000;
    for number in 0..FRAMES {
        world.send(oslo, true, number);
        world.send(oslo, false, number);
        world.step();
    }
    world.run(Duration::from_secs(1));
    assert!(world.spokes[oslo].client.status().renewals >= 10);
    let all: HashSet<u64> = (0..FRAMES).collect();
    for got in [&world.hub.got, &world.spokes[oslo].plane.got] {
        assert_eq!(got.len(), all.len(), "none twice");
        assert_eq!(got.iter().copied().collect::<HashSet<_>>(), all);
    }
}

#[test]
fn the_session_outlives_its_tcp_connection() {
    let mut world = World::new(6, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.tcp = false;
    world.reset_tcp();
    world.run(Duration::from_secs(20));
    assert!(world.is_up(oslo), "records still arrive");
    world.tcp = true;
    assert!(world.run_until(|world| world.spokes[oslo].client.status().renewals == 1), "{:#?}", world.log);
    assert!(!world.logged("is down"));
}

#[test]
fn a_silent_peer_is_dead_after_three_seconds_and_comes_back() {
    let mut world = World::new(7, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.udp = false;
    world.tcp = false;
    world.run(Duration::from_millis(2500));
    assert_eq!(world.server.status()[0].state, State::Up);
    world.run(Duration::from_millis(1000));
    assert_eq!(world.server.status()[0].state, State::Down);
    assert!(world.server.status()[0].last_failure.as_ref().is_some_and(|(_, why)| why.contains("dead-peer")));
    world.udp = true;
    world.tcp = true;
    let before = world.now;
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
    assert!(world.now - before < Duration::from_secs(11), "the longest back-off is 10 s");
}

#[test]
fn another_dead_peer_time_holds_from_the_next_renewal_on() {
    let mut world = World::new(7, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(10));
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.server.set_limits(Duration::from_secs(1), 8, vec![record::Cipher::Aes128Gcm]);
    assert!(world.run_until(|world| world.spokes[oslo].client.status().renewals == 1), "{:#?}", world.log);
    world.run(Duration::from_millis(500));
    (world.udp, world.tcp) = (false, false);
    world.run(Duration::from_millis(1200));
    assert_eq!(world.server.status()[0].state, State::Down);
    assert_ne!(world.spokes[oslo].client.status().state, State::Up);
}

#[test]
fn a_client_that_lost_power_gets_its_place_back() {
    let mut world = World::new(8, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.run(Duration::from_secs(2));
    let before = world.now;
    world.restart_spoke(oslo, "oslo");
    world.run(Duration::from_millis(50));
    let up = |world: &World| world.spokes[0].client.status().state == State::Up && world.is_up(0);
    assert!(world.run_until(up), "{:#?}", world.log);
    assert!(world.now - before < Duration::from_secs(5), "{:?}", world.now - before);
}

#[test]
fn a_second_client_does_not_push_the_first_one_out() {
    let mut world = World::new(9, &["oslo"]);
    let first = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(first)));
    let second = world.spoke("oslo", "secret", LONG);
    world.run(Duration::from_secs(10));
    assert!(world.is_up(first));
    let (_, why) = world.spokes[second].client.status().last_failure.expect("refused");
    assert!(why.contains("already connected from elsewhere"), "{why}");
}

/// Both pass their logins before either has a session.
#[test]
fn of_two_clients_that_come_at_once_one_gets_in() {
    for seed in 1..6 {
        let mut world = World::new(seed * 31, &["oslo"]);
        let both = [world.spoke("oslo", "secret", LONG), world.spoke("oslo", "secret", LONG)];
        let up = |world: &World| both.map(|at| world.spokes[at].client.view().is_some());
        assert!(world.run_until(|world| up(world).contains(&true)), "{:#?}", world.log);
        for _ in 0..100 {
            world.run(Duration::from_millis(100));
            assert_eq!(up(&world).iter().filter(|up| **up).count(), 1, "seed {seed}: {:#?}", world.log);
        }
        let first = both[usize::from(up(&world)[1])];
        assert!(world.is_up(first), "{:#?}", world.log);
        assert_eq!(world.server.status()[0].renewals, 0);
        assert!(world.logged("is connected already; a second login"));
        assert!(!world.logged("is down"), "{:#?}", world.log);
    }
}

#[test]
fn strangers_learn_nothing_and_operators_the_reason() {
    let mut world = World::new(10, &["oslo", "disabled"]);
    let wrong = world.spoke("oslo", "wrong", LONG);
    let unknown = world.spoke("nowhere", "secret", LONG);
    let disabled = world.spoke("disabled", "secret", LONG);
    world.run(Duration::from_secs(5));
    let why = |world: &World, at: usize| world.spokes[at].client.status().last_failure.expect("refused").1;
    assert_eq!(why(&world, wrong), why(&world, unknown), "no hint which of the two it was");
    assert!(why(&world, disabled).contains("disabled"));
    assert!(
        world.logged("login of site \"oslo\"") && world.logged("there is no site \"nowhere\""),
        "{:#?}",
        world.log
    );
    let status = world.server.status();
    assert!(status[0].last_failure.as_ref().is_some_and(|(_, why)| why.contains("password is wrong")));
    assert_eq!(status[1].state, State::Disabled);
}

#[test]
fn the_server_follows_a_client_that_moves() {
    let mut world = World::new(11, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    world.spokes[oslo].addresses[0] = "203.0.113.9:1234".parse().expect("an address");
    let before = world.now;
    assert!(world.run_until(|world| world.is_up(oslo)));
    assert!(world.now - before < Duration::from_secs(2));
    assert!(!world.logged("is down"));
}

#[test]
fn a_shutdown_is_known_at_once() {
    let mut world = World::new(12, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    let now = world.now;
    world.spokes[oslo].client.shutdown(now);
    world.run(Duration::from_millis(100));
    assert_eq!(world.server.status()[0].state, State::Down);
    assert!(world.logged("shutting down"));
}

/// A server that says that it shuts down is tried often for a few seconds, then with patience.
#[test]
fn a_server_that_restarts_is_missed_for_a_moment() {
    let mut world = World::new(13, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    let now = world.now;
    world.server.shutdown(now);
    world.run(Duration::from_millis(40));
    let client = &mut world.spokes[oslo].client;
    assert_ne!(client.status().state, State::Up);
    let mut attempts = [0; 4];
    for ms in 0..6000 {
        let now = world.now + Duration::from_millis(ms);
        if now >= client.deadline() {
            client.handle_timeout(now);
        }
        while let Some(output) = client.poll_output() {
            if let Output::Connect(Dial { conn, .. }) = output {
                attempts[ms as usize / 1500] += 1;
                client.closed(now, conn, "refused");
            }
        }
    }
    assert!(attempts[0] >= 14 && attempts[1] >= 12, "{attempts:?}");
    assert!(attempts[2] + attempts[3] <= 8, "{attempts:?}");
}

#[test]
fn a_stranger_with_many_connections_keeps_nobody_out() {
    let mut world = World::new(13, &["oslo"]);
    let now = world.now;
    let stranger = |id: u64| format!("203.0.113.66:{id}");
    let mapped = |id: u64| format!("[::ffff:203.0.113.66]:{id}");
    // One host may have all addresses of an IPv6 network.
    let network = |id: u64| format!("[2001:db8::{id}]:999");
    let ranges: [(&dyn Fn(u64) -> String, _, _); 3] =
        [(&stranger, 1000..1100, 2), (&mapped, 1100..1200, 0), (&network, 1200..1300, 2)];
    for (from, mut ids, most) in ranges {
        let mut accepted =
            |id: u64| world.server.accepted(now, ConnId(id), from(id).parse().expect("an address"));
        assert_eq!(ids.by_ref().filter(|id| accepted(*id)).count(), most, "a quarter of eight");
    }
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
    world.run(Duration::from_secs(6));
    let (strangers, known): (Vec<_>, Vec<_>) = world
        .log
        .iter()
        .filter(|line| line.contains("the login took too long"))
        .partition(|line| line.starts_with("server, of a stranger:"));
    assert_eq!((strangers.len(), known.len()), (4, 0), "told apart, so that they are logged seldom");
}

#[test]
fn sites_come_change_and_go_without_harm_to_others() {
    let mut world = World::new(14, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    let lima = world.spoke("lima", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    assert!(world.logged("there is no site"));
    let since = world.server.status()[0].up_since;

    let now = world.now;
    world.server.set_site(now, SessionIndex(1), site("lima"));
    assert!(world.run_until(|world| world.is_up(lima)), "{:#?}", world.log);

    // Other segments are told to the peer, and the session goes on.
    let now = world.now;
    world.server.set_site(now, SessionIndex(1), SiteParams { segments: segments(&[11]), ..site("lima") });
    world.run(Duration::from_millis(200));
    assert!(world.spokes[lima].client.view().expect("up").segments.is_empty());
    world.spokes[lima].client.set_segments(segments(&[11, 12]));
    world.run(Duration::from_millis(200));
    assert_eq!(world.server.view(SessionIndex(1)).expect("up").segments, segments(&[11]));
    assert!(!world.logged("\"lima\" is down"));

    let (now, disabled) = (world.now, SiteParams { admission: Admission::SiteDisabled, ..site("lima") });
    world.server.set_site(now, SessionIndex(1), disabled);
    world.run(Duration::from_millis(200));
    assert_eq!(world.server.status()[1].state, State::Disabled);
    assert!(world.spokes[lima].client.view().is_none(), "the client knows at once");

    let now = world.now;
    world.server.set_site(now, SessionIndex(1), site("lima"));
    assert!(world.run_until(|world| world.is_up(lima)), "{:#?}", world.log);
    let now = world.now;
    world.server.remove_site(now, SessionIndex(1));
    world.run(Duration::from_secs(12));
    assert!(world.spokes[lima].client.view().is_none(), "its name is not known any more");
    assert_eq!(world.server.status()[0].up_since, since, "nothing of this was felt elsewhere");
    assert!(world.is_up(oslo));
}

#[test]
fn a_client_with_other_settings_begins_anew() {
    let mut world = World::new(15, &["oslo", "lima"]);
    let spoke = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(spoke)));
    let (now, params) = (world.now, world.client_params("lima", "secret", LONG));
    world.spokes[spoke].client.restart(now, params);
    assert!(world.run_until(|world| world.server.status()[1].state == State::Up && world.is_up(spoke)));
    assert_eq!(world.server.status()[0].state, State::Down);
}

#[test]
fn a_client_that_was_stopped_stays_so_until_it_is_restarted() {
    let mut world = World::new(18, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    let now = world.now;
    world.spokes[oslo].client.stop(now);
    world.run(Duration::from_secs(30));
    let (client, server) = (world.spokes[oslo].client.status(), &world.server.status()[0]);
    assert_eq!((client.state, server.state), (State::Disabled, State::Down));
    assert!(
        client.last_failure.is_some_and(|(_, reason)| reason.contains("the operator disabled the service"))
    );
    let told =
        server.last_failure.as_ref().is_some_and(|(_, reason)| reason.contains("operator disabled it"));
    assert!(told, "{:?}", server.last_failure);
    let (now, params) = (world.now, world.client_params("oslo", "secret", LONG));
    world.spokes[oslo].client.restart(now, params);
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
}

/// The server gets another certificate at every few frames, so that each renewal derives its keys from another one.
#[test]
fn renewals_across_new_certificates_lose_nothing() {
    let mut world = World::new(17, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(2));
    assert!(world.run_until(|world| world.is_up(oslo)));
    const FRAMES: u64 = 1500;
    for number in 0..FRAMES {
        world.fingerprint = [(number / 100) as u8; 32];
        world.send(oslo, true, number);
        world.send(oslo, false, number);
        world.step();
    }
    world.run(Duration::from_secs(1));
    assert!(world.spokes[oslo].client.status().renewals >= 5);
    for got in [&world.hub.got, &world.spokes[oslo].plane.got] {
        assert_eq!(got.iter().copied().collect::<HashSet<_>>(), (0..FRAMES).collect());
    }
    assert!(!world.logged("is down"), "{:#?}", world.log);
}

/// The password is right each time; what the client learns does not tell what was missing.
#[test]
fn a_site_that_requires_a_certificate_is_refused_without_it() {
    let mut world = World::new(16, &["oslo"]);
    let now = world.now;
    let required = || SiteParams { certificate: Some("oslo".into()), ..site("oslo") };
    world.server.set_site(now, SessionIndex(0), required());
    let spoke = world.spoke("oslo", "secret", LONG);
    world.run(Duration::from_secs(2));
    assert!(world.logged("it showed no certificate, which the site requires"), "{:#?}", world.log);
    world.certificate = Some(vec!["lima\u{1b}".into(), "lima.example".into()]);
    world.run(Duration::from_secs(20));
    assert!(world.logged("has to be for \"oslo\", but is for"), "{:#?}", world.log);
    assert!(!world.log.iter().any(|line| line.contains('\u{1b}')), "printed raw");
    let (_, reason) = world.spokes[spoke].client.status().last_failure.expect("refused");
    assert!(reason.contains("authentication failed") && !reason.contains("certificate"), "{reason}");
    world.certificate = Some(vec!["a".into(), "OSLO".into()]);
    assert!(world.run_until(|world| world.is_up(spoke)), "{:#?}", world.log);
    // The same requirement does not touch the session that is up, nor does one that its certificate meets.
    for name in ["oslo", "a"] {
        let now = world.now;
        let changed = SiteParams { certificate: Some(name.into()), ..site("oslo") };
        world.server.set_site(now, SessionIndex(0), changed);
        world.run(Duration::from_secs(1));
        assert!(world.is_up(spoke));
    }
    let now = world.now;
    let changed = SiteParams { certificate: Some("other".into()), ..site("oslo") };
    world.server.set_site(now, SessionIndex(0), changed);
    assert_eq!(world.server.status()[0].state, State::Down);
    world.run(Duration::from_secs(20));
    assert!(world.spokes[spoke].client.view().is_none(), "{:#?}", world.log);
}

/// One that was taken back ends the session that began with it, even if its control connection is lost at that moment.
#[test]
fn certificates_are_verified_again_when_the_rules_change() {
    for connected in [true, false] {
        let mut world = World::new(18, &["oslo", "lima"]);
        world.certificate = Some(vec!["oslo".into()]);
        let oslo = world.spoke("oslo", "secret", LONG);
        assert!(world.run_until(|world| world.is_up(oslo)));
        world.certificate = Some(vec!["lima".into()]);
        let lima = world.spoke("lima", "secret", LONG);
        assert!(world.run_until(|world| world.is_up(lima)));
        world.tcp = connected;
        if !connected {
            world.reset_tcp();
        }
        let now = world.now;
        world.server.verify_again(now, |_| Ok(()));
        assert_eq!(world.server.status()[0].state, State::Up);
        let revoked = |chain: &[Vec<u8>]| match chain {
            [own] if own == b"oslo" => Err("the client's certificate is revoked".to_owned()),
            _ => Ok(()),
        };
        world.server.verify_again(now, revoked);
        let status = world.server.status();
        assert_eq!((status[0].state, status[1].state), (State::Down, State::Up));
        assert!(status[0].last_failure.as_ref().is_some_and(|(_, why)| why.contains("revoked")));
        world.run(Duration::from_millis(100));
        assert!(world.spokes[oslo].client.view().is_none() || !connected, "the client knows at once");
        let told = world.logged("ended the session: the site's certificate is not accepted any more");
        assert_eq!(told, connected, "{:#?}", world.log);
    }
}

/// A client whose server's certificate is not good any more by a new list goes over to the keys of a new handshake if the server
/// shows a better one there; otherwise its session ends, whether it is refused a better one or nothing comes.
#[test]
fn a_server_that_is_not_believed_any_more_has_to_prove_itself_at_once() {
    let revoked = || Some("the server's certificate is revoked".to_owned());
    let mut world = World::new(22, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo)));
    let since = world.spokes[oslo].client.status().up_since;
    // It has another certificate by now.
    let now = world.now;
    world.spokes[oslo].client.believe_anew(now, revoked());
    assert!(world.run_until(|world| world.spokes[oslo].client.status().renewals == 1), "{:#?}", world.log);
    assert!(world.now <= now + Duration::from_secs(1));
    world.run(Duration::from_secs(20));
    assert_eq!(world.spokes[oslo].client.status().up_since, since, "one session all the time");
    // What is against it is taken back before the handshake is done.
    let now = world.now;
    world.spokes[oslo].client.believe_anew(now, revoked());
    world.spokes[oslo].client.believe_anew(now, None);
    world.tcp = false;
    world.run(Duration::from_secs(20));
    assert_eq!(world.spokes[oslo].client.status().up_since, since);
    // TLS refuses what it shows.
    let now = world.now;
    world.spokes[oslo].client.believe_anew(now, revoked());
    world.run(STEP);
    let status = world.spokes[oslo].client.status();
    assert_ne!(status.state, State::Up);
    assert!(status.last_failure.is_some_and(|(_, why)| why.contains("certificate is revoked")));
    world.run(Duration::from_millis(100));
    assert!(
        world.logged("the site ended the session: the server's certificate is revoked"),
        "{:#?}",
        world.log
    );
    // It does not come to the proof.
    world.tcp = true;
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
    world.frozen = true;
    let now = world.now;
    world.spokes[oslo].client.believe_anew(now, revoked());
    assert!(world.run_until(|world| world.spokes[oslo].client.view().is_none()), "{:#?}", world.log);
    assert!(world.now <= now + Duration::from_secs(5) + STEP);
    // Without a session there is nothing to end: it tries at once, by the new rules.
    world.frozen = false;
    let now = world.now;
    world.spokes[oslo].client.believe_anew(now, revoked());
    assert_eq!(world.spokes[oslo].client.deadline(), now);
    assert!(world.run_until(|world| world.is_up(oslo)), "{:#?}", world.log);
}

/// Who is told that it was disabled is told what: its site, or the whole service.
#[test]
fn a_site_learns_whether_it_or_the_service_is_disabled() {
    for (admission, ended, refused) in [
        (Admission::SiteDisabled, "the operator disabled the site", "the site is disabled"),
        (Admission::ServiceDisabled, "the operator disabled the service", "the service is disabled"),
    ] {
        let mut world = World::new(23, &["oslo"]);
        let oslo = world.spoke("oslo", "secret", LONG);
        assert!(world.run_until(|world| world.is_up(oslo)));
        let now = world.now;
        world.server.set_site(now, SessionIndex(0), SiteParams { admission, ..site("oslo") });
        assert_eq!(world.server.status()[0].last_failure.as_ref().expect("ended").1, ended);
        world.run(Duration::from_millis(50));
        let told = world.spokes[oslo].client.status().last_failure.expect("ended").1;
        assert_eq!(told, format!("the server ended the session: {ended}"));
        world.run(Duration::from_secs(5));
        let told = world.spokes[oslo].client.status().last_failure.expect("refused").1;
        assert!(told.contains(&format!("disabled at the server (\"{refused}\")")), "{told}");
        assert_eq!(world.server.status()[0].last_failure.as_ref().expect("ended").1, ended);
    }
}

/// Each end is told what the other wants.
#[test]
fn ends_without_a_common_cipher_are_told_both_wishes() {
    let mut world = World::new(24, &["oslo"]);
    let params = world.client_params("oslo", "secret", LONG);
    let oslo = world.spoke_with(ClientParams { ciphers: vec![Cipher::Aes256Gcm], ..params });
    world.run(Duration::from_secs(2));
    let told = world.spokes[oslo].client.status().last_failure.expect("refused").1;
    assert!(told.contains("no common data cipher"), "{told}");
    assert!(told.contains("the site offers aes-256-gcm, the server takes aes-128-gcm"), "{told}");
    let told = world.server.status().remove(0).last_failure.expect("refused").1;
    assert!(told.contains("\"oslo\" offers aes-256-gcm, this server takes aes-128-gcm"), "{told}");
}

/// The server does not renew the session of a client whose certificate is gone, and a client cannot renew with a server that it
/// does not get through to: neither goes on with old keys.
#[test]
fn a_session_that_is_not_renewed_ends_after_a_quarter_of_an_hour() {
    for refused in [true, false] {
        let mut world = World::new(19, &["oslo"]);
        world.certificate = Some(vec!["oslo".into()]);
        let (now, required) = (world.now, SiteParams { certificate: Some("oslo".into()), ..site("oslo") });
        world.server.set_site(now, SessionIndex(0), required);
        let oslo = world.spoke("oslo", "secret", LONG);
        assert!(world.run_until(|world| world.is_up(oslo)));
        world.certificate = None;
        world.tcp = refused;
        world.run(Duration::from_secs(14 * 60 + 50));
        assert!(world.is_up(oslo), "{:#?}", world.log);
        world.run(Duration::from_secs(12));
        assert_eq!(world.server.status()[0].state, State::Down);
        assert!(world.spokes[oslo].client.view().is_none());
        assert!(world.logged("its keys were not renewed within 15 minutes"), "{:#?}", world.log);
    }
}

#[test]
fn either_end_asks_and_the_other_answers() {
    let mut world = World::new(21, &["oslo", "lima"]);
    let oslo = world.spoke("oslo", "secret", LONG);
    let lima = world.spoke("lima", "secret", LONG);
    assert!(world.run_until(|world| world.is_up(oslo) && world.is_up(lima)), "{:#?}", world.log);
    let details = vec![("tunnel".to_owned(), Detail::Uint(10))];
    let question =
        |number| Message::Question(Question { number, kind: "segment".into(), details: details.clone() });
    assert!(world.spokes[lima].client.tell(&question(7)));
    assert!(world.server.tell(SessionIndex(0), &question(8)));
    assert!(!world.server.tell(SessionIndex(9), &question(9)), "nobody is there");
    world.run(Duration::from_secs(1));
    let (mut echoed, mut refused) = (0, 0);
    for (session, answer) in &world.answers {
        match session {
            None => {
                echoed += 1;
                assert_eq!((answer.number, answer.details.as_ref()), (7, Some(&details)));
            }
            Some(session) => {
                refused += 1;
                assert_eq!((*session, answer.number, &answer.details), (SessionIndex(0), 8, &None));
            }
        }
    }
    assert_eq!((echoed, refused), (1, 1));
}
