//! A mistake in a TOML text that the user can mend: where it is, what it is, what would be right.

/// One mistake, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}
