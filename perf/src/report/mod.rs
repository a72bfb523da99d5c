//! What becomes of a run: a table on the terminal, JSON, HTML, a comparison with another run.

pub(crate) mod compare;
pub(crate) mod file;
pub(crate) mod html;
pub(crate) mod merge;
pub(crate) mod number;
pub(crate) mod plot;
pub(crate) mod table;
