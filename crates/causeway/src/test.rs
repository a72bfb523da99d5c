//! `causeway test` and `causeway ping`: why a segment carries no traffic, how good a path is, whether a host is there.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use console::words::quote;
use serde_json::Value;

use crate::Failure;
use crate::ask::{Appliance, ask, text};

/// What to test.
#[derive(Subcommand)]
pub(crate) enum Test {
    /// Tell why a segment carries no traffic, and in which direction. Ends with 1 when something is wrong.
    Segment {
        /// The segment.
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// Measure throughput, loss and round trip of the tunnel to a site, both ways, through the real data path.
    Path {
        /// The site.
        site: String,
        /// Mbit/s each way, at most 200.
        #[arg(short, long, default_value_t = 10)]
        rate: u64,
        /// For so long, at most 10 s.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        #[command(flatten)]
        how: How,
    },
}

/// What to ping.
#[derive(Subcommand)]
pub(crate) enum Ping {
    /// Ask for a host of a segment: from the segment's gateway by ICMP, without one by ARP or neighbour discovery.
    Segment {
        /// The segment.
        name: String,
        /// The host's address.
        address: IpAddr,
        /// How often.
        #[arg(short, long)]
        count: Option<u64>,
        #[command(flatten)]
        how: How,
    },
}

/// How to answer.
#[derive(Args)]
pub(crate) struct How {
    /// As JSON, documented in docs/show.md.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    appliance: Appliance,
}

impl How {
    fn ask(&self, request: &str) -> Result<Option<Value>, Failure> {
        let answer = ask(&self.appliance.socket, request)?;
        if self.json {
            println!("{answer:#}");
            return Ok(None);
        }
        Ok(Some(answer))
    }
}

pub(crate) fn test(test: &Test) -> Result<(), Failure> {
    match test {
        Test::Segment { name, how } => match how.ask(&format!("test segment {}", quote(name)))? {
            Some(answer) => segment(&answer),
            None => Ok(()),
        },
        Test::Path { site, rate, seconds, how } => {
            if let Some(answer) =
                how.ask(&format!("test path {} rate {rate} seconds {seconds}", quote(site)))?
            {
                path(&answer);
            }
            Ok(())
        }
    }
}

fn path(answer: &Value) {
    let number = |value: &Value, digits: usize| {
        value.as_f64().map_or("-".into(), |number| format!("{number:.digits$}"))
    };
    for (way, words) in [("to", "there"), ("from", "back")] {
        let way = &answer[way];
        println!(
            "{words:<6} {} records sent, {} received, {} % lost, {} Mbit/s",
            text(&way["sent_records"]),
            text(&way["received_records"]),
            number(&way["loss_percent"], 2),
            number(&way["mbps"], 1),
        );
    }
    let times = &answer["round_trip"];
    println!(
        "round trip: {} of {} answered, {} / {} / {} ms (least, mean, most), jitter {} ms",
        text(&times["answered"]),
        text(&times["sent"]),
        number(&times["min_ms"], 2),
        number(&times["mean_ms"], 2),
        number(&times["max_ms"], 2),
        number(&times["jitter_ms"], 2),
    );
}

fn segment(answer: &Value) -> Result<(), Failure> {
    println!("segment {}: {}", text(&answer["segment"]), text(&answer["result"]));
    for site in answer["sites"].as_array().into_iter().flatten() {
        if site["joined"] == true {
            let count =
                |way: &str, size: &str| format!("{} of {}", text(&site[way][size]), text(&site["sent_each"]));
            println!(
                "  site {}: test frames there {} small, {} large; back {} small, {} large",
                text(&site["site"]),
                count("to", "small"),
                count("to", "large"),
                count("from", "small"),
                count("from", "large"),
            );
        } else {
            println!("  site {}: has not joined", text(&site["site"]));
        }
    }
    for finding in answer["findings"].as_array().into_iter().flatten() {
        println!("\n{} {}: {}", text(&finding["severity"]), text(&finding["code"]), text(&finding["text"]));
        println!("  -> {}", text(&finding["advice"]));
    }
    if answer["result"] == "failed" {
        return Err(Failure("the segment does not carry all traffic".into()));
    }
    Ok(())
}

pub(crate) fn ping(ping: &Ping) -> Result<(), Failure> {
    let Ping::Segment { name, address, count, how } = ping;
    let count = count.map_or_else(String::new, |count| format!(" count {count}"));
    let Some(answer) = how.ask(&format!("ping segment {} {address}{count}", quote(name)))? else {
        return Ok(());
    };
    for probe in answer["probes"].as_array().into_iter().flatten() {
        match probe["ms"].as_f64() {
            Some(ms) => {
                let (mac, place, by) = (text(&probe["mac"]), text(&probe["where"]), text(&probe["by"]));
                println!("{address} is at {mac}, {place}: {ms:.1} ms ({by})")
            }
            None => println!("{address}: no answer"),
        }
    }
    println!(
        "{} sent, {} answered ({}{})",
        text(&answer["sent"]),
        text(&answer["answered"]),
        text(&answer["how"]),
        answer["from"].as_str().map_or_else(String::new, |from| format!(" from {from}"))
    );
    if answer["answered"] == 0 {
        return Err(Failure(format!("{address} does not answer in segment {name}")));
    }
    Ok(())
}
