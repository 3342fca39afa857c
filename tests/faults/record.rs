//! What was tried and seen, for the table of `docs/reliability.md`: a line for each run of a case,
//! in a file that `tools/faults.py` reads.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Notes that the fault was done so many times, and that the oracle found nothing after any of
/// them.
pub fn note(fault: &str, expected: &str, tried: u64, seen: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&folder).unwrap();
    let file = OpenOptions::new().create(true).append(true).open(folder.join("record.tsv"));
    let line = format!("{fault}\t{expected}\t{tried}\t{seen}\n");
    file.unwrap().write_all(line.as_bytes()).unwrap();
}
