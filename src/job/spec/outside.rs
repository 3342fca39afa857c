//! What a job's text does not say itself.

use crate::table::{Check, Mistake};

/// What a job's text leaves to the world around it. A function that draws seeds is one, for texts
/// that name no file.
pub trait Outside {
    /// A seed that the text leaves open.
    fn seed(&mut self) -> u64;

    /// The content of the list of prompts that the text calls `name`, up to a byte more than a list
    /// may have.
    fn list(&mut self, name: &str) -> Check<Vec<u8>>;

    /// The content of the list of words for `__name__`, which is a good name.
    fn wildcard(&mut self, name: &str) -> Check<Vec<u8>>;
}

impl<F: FnMut() -> u64> Outside for F {
    fn seed(&mut self) -> u64 {
        self()
    }

    fn list(&mut self, _: &str) -> Check<Vec<u8>> {
        Err(Mistake::new("no file is read for this job").help("write its prompts into `prompt`"))
    }

    fn wildcard(&mut self, name: &str) -> Check<Vec<u8>> {
        let mistake = Mistake::new(format!("__{name}__: no file is read for this job"));
        Err(mistake.help("write its words as {a|b}"))
    }
}
