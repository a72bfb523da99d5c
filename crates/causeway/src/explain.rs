//! `causeway explain`: what becomes of a frame, step by step, here and at the other ends.

use clap::Args;
use console::tree::{Role, parse};
use console::{commands, words};
use serde_json::Value;

use crate::Failure;
use crate::ask::{Appliance, ask, text};

/// Which frame.
#[derive(Args)]
pub(crate) struct Explain {
    /// segment NAME src MAC dst MAC [ip ADDRESS] [size N] [port PORT | from SITE]; or live [FILTER]: the next frame that comes.
    #[arg(required = true)]
    words: Vec<String>,
    /// As JSON, documented in docs/show.md.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(explain: &Explain) -> Result<(), Failure> {
    let words: Vec<&str> =
        std::iter::once("explain").chain(explain.words.iter().map(String::as_str)).collect();
    let command = parse(commands::root(), &words, Role::Admin).map_err(|wrong| Failure(wrong.to_string()))?;
    let answer = ask(&explain.appliance.socket, &words::join(&command.words))?;
    if explain.json {
        println!("{answer:#}");
        return Ok(());
    }
    println!("here:");
    steps(&answer["here"]);
    for end in answer["there"].as_array().into_iter().flatten() {
        println!("at the other end, site {}:", text(&end["site"]));
        match &end["steps"] {
            Value::Null => println!("  {}", text(&end["why"])),
            found => steps(found),
        }
    }
    Ok(())
}

fn steps(steps: &Value) {
    for step in steps.as_array().into_iter().flatten() {
        let mark = match step["verdict"].as_str() {
            Some("drop") => "X",
            Some("note") => "!",
            _ => " ",
        };
        println!("{mark} {:<9} {}", text(&step["stage"]), text(&step["text"]));
    }
}
