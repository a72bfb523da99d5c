//! The appliance tells what it does and why: statistics, drops, captures, self-tests.

mod drops;
mod statistics;
