//! To come.

pub mod ops;
