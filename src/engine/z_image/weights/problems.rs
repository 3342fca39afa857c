//! What is wrong with a part's tensors, collected so that one error tells all of it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How many problems an error names.
const NAMED_MAX: usize = 5;

/// The problems that were found so far.
#[derive(Default)]
pub(super) struct Problems(Mutex<Vec<String>>);

impl Problems {
    pub(super) fn note(&self, problem: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// An error that names `place` and the first problems, where there is one.
    pub(super) fn finish(&self, place: &Path) -> Result<(), String> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.is_empty() {
            return Ok(());
        }
        let named: Vec<&str> = problems.iter().take(NAMED_MAX).map(String::as_str).collect();
        Err(format!(
            "{}: {} of the tensors do not fit its configuration: {}",
            place.display(),
            problems.len(),
            named.join("; ")
        ))
    }
}
