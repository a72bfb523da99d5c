//! The admin console without IO: octets and answers go in, octets and questions come out.
//!
//! [`Console`] is one conversation. [`tree`] is the language of commands, [`commands`] all there are, [`expression`] the filters of
//! captures; help, completion and documents come from them. [`render`] lays answers out for people, for `causeway show` too;
//! [`top`] is the live view.
#![forbid(unsafe_code)]

pub mod commands;
mod console;
mod editor;
mod ends;
pub mod expression;
pub mod filter;
mod help;
mod keys;
mod printable;
mod reference;
pub mod render;
pub mod telnet;
pub mod top;
pub mod tree;
pub mod words;

pub use console::Console;
pub use ends::{Event, Other, Settings};
pub use printable::printable;
pub use reference::reference;
