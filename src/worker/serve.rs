//! The child's side: one thread reads requests, one owns the engine for life.

/// Serves until the end of standard input; the process's exit status.
pub fn serve() -> std::process::ExitCode {
    todo!()
}
