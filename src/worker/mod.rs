//! The child process that holds the model: its messages, the supervisor's side and the child's
//! side.

pub mod exit;
pub mod handle;
pub mod last_word;
pub mod protocol;
pub mod serve;
