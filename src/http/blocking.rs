//! Work that would hold up the thread on which everybody is answered: files, and whatever takes
//! long to compute.

use super::problem::HttpProblem;

/// Does it on a thread of its own.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpProblem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| HttpProblem::ours(error.to_string()))
}
