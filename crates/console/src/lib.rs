//! The admin console without IO: bytes and answers go in, bytes and questions come out.
//!
//! [`words`] is how a command line falls into words.
#![forbid(unsafe_code)]

pub mod words;
