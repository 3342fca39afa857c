//! The files that a job's text names, pictures and LoRAs. All of them are looked at, also where the
//! text has mistakes or another file is wrong: whoever mends one mistake must not meet the next.

use std::io;

use crate::inputs::{self, InputLimits, InputUse, JobText};
use crate::job::Job;
use crate::loras::{self, LoraFolder};
use crate::problem::Problem;

/// Where the files of a text are, and what becomes of them.
pub struct NamedFiles<'a> {
    pub text: JobText<'a>,
    pub limits: InputLimits,
    /// What becomes of the pictures of a job without mistakes.
    pub pictures: InputUse<'a>,
}

impl NamedFiles<'_> {
    /// Looks at all files of the text. Of a `job` without mistakes they are taken in; else the
    /// errors are all mistakes, in the order of the text. `loras` is asked for the folder of the
    /// LoRAs only where there are any. The outer error is the program's own trouble.
    pub fn take_in(
        &self,
        job: Result<&mut Job, Vec<Problem>>,
        loras: impl FnOnce() -> Result<LoraFolder, Vec<Problem>>,
    ) -> io::Result<Result<(), Vec<Problem>>> {
        let (mut problems, job) = match job {
            Ok(job) => {
                let found = loras::take_in(job, self.text.text, loras);
                (found.err().unwrap_or_default(), Some(job))
            }
            Err(mut problems) => {
                let found = loras::look_at_text(self.text.text, loras);
                problems.extend(found.err().unwrap_or_default());
                (problems, None)
            }
        };
        let looked_at = match job.filter(|_| problems.is_empty()) {
            Some(job) => inputs::take_in(job, self.text, self.limits, self.pictures)?,
            None => inputs::look(self.text, self.limits)?,
        };
        problems.extend(looked_at.err().unwrap_or_default());
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if problems.is_empty() { Ok(Ok(())) } else { Ok(Err(problems)) }
    }
}
