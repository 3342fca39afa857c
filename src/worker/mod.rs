//! The child process that holds the model: its messages, the supervisor's side and the child's
//! side.

pub mod handle;
pub mod protocol;
pub mod serve;
