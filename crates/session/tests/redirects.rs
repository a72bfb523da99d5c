//! Servers that send a client to others, in virtual time.
#![allow(missing_docs, unreachable_pub)]

mod world;

use std::time::Duration;

use session::message::Message;
use session::{Client, ConnId, Dial, ExportFailed, Exporter, Output};
use world::*;

/// The keys of a connection whose other end nobody plays.
struct Keys;

impl Exporter for Keys {
    fn export(&self, _: &[u8], _: &[u8], out: &mut [u8]) -> Result<(), ExportFailed> {
        out.fill(7);
        Ok(())
    }
}

fn to(address: &str) -> Vec<u8> {
    let message = Message::Redirect(address.into()).encode();
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

/// What the client connects to next, and when.
fn dialed(client: &mut Client, now: &mut Duration) -> (ConnId, Option<String>) {
    loop {
        while let Some(output) = client.poll_output() {
            if let Output::Connect(Dial { conn, redirect, .. }) = output {
                return (conn, redirect);
            }
        }
        *now = client.deadline().max(*now);
        client.handle_timeout(*now);
    }
}

#[test]
fn servers_that_send_a_client_round_in_circles_make_it_wait() {
    let world = World::new(110, &["oslo"]);
    let mut now = world.now;
    let params = world.client_params("oslo", "secret", Duration::from_secs(600));
    let mut client = Client::new(params, Box::new(world.chance.clone()), now);
    for round in 0..3 {
        let (mut conn, mut redirect) = dialed(&mut client, &mut now);
        assert_eq!(redirect, None, "with the servers that it knows");
        let began = now;
        for count in 0..5 {
            client.connected(now, conn, None, [7; 32], &Keys);
            client.received(now, conn, &to(&format!("hub{count}.example:443")), &Keys);
            if count < 4 {
                (conn, redirect) = dialed(&mut client, &mut now);
                assert_eq!(redirect, Some(format!("hub{count}.example:443")));
                assert_eq!(now, began, "at once");
            }
        }
        let (_, why) = client.status().last_failure.expect("given up");
        assert!(why.contains("after 4 others"), "{why}");
        assert!(client.deadline() >= now + Duration::from_millis(100 << round), "with back-off");
    }
}

/// A redirect stands in the place of an answer to the login. In a session it is an error, which the session outlives.
#[test]
fn a_redirect_at_a_wrong_time_is_not_followed() {
    let mut world = World::new(111, &["oslo"]);
    let oslo = world.spoke("oslo", "secret", Duration::from_secs(600));
    assert!(world.run_until(|world| world.is_up(oslo)));
    let now = world.now;
    world.spokes[oslo].client.received(now, ConnId(0), &to("elsewhere.example:443"), &Keys);
    assert!(world.run_until(|world| world.spokes[oslo].client.status().renewals == 1), "{:#?}", world.log);
    assert!(world.logged("the server sent redirect at a wrong time"), "{:#?}", world.log);
    assert!(!world.logged("sends us to"));
    assert!(world.is_up(oslo));
}
