//! The oracle: what must hold after every fault, asked of database, folders and health.
//!
//! The sentences stand in `docs/reliability.md` as well. `spoiled.rs` proves that each can fall.

mod answers;
mod files;
mod rows;

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::support::{House, database};

/// How the daemon is when the oracle is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    Alive,
    /// With this exit code; none after a signal.
    Ended(Option<i32>),
    /// Killed by us a moment ago: what a start repairs is not asked for.
    Killed,
}

/// What is looked at.
pub struct Scene<'a> {
    pub house: &'a House,
    pub ledger: &'a Ledger,
    pub daemon: Daemon,
    /// How long a good job may take; also the limit for an answer, where that is less.
    pub patience: Duration,
}

/// One promise, and what finds out whether it holds: each answer names one thing that is wrong.
pub struct Invariant {
    pub name: &'static str,
    pub sentence: &'static str,
    holds: fn(&Scene) -> Vec<String>,
}

/// Numbered as in the table of `docs/reliability.md`. I12, that nothing grows, is for runs of many
/// hours.
pub const INVARIANTS: [Invariant; 12] = [
    Invariant {
        name: "I1",
        sentence: "An accepted job has exactly one row and all its renders, and each of them is \
                   queued, running or has ended with a reason.",
        holds: rows::every_job_is_whole,
    },
    Invariant {
        name: "I2",
        sentence: "At most one render runs on a device, beside one whose picture is being written; \
                   none of them was begun before this start.",
        holds: rows::few_run,
    },
    Invariant {
        name: "I3",
        sentence: "A render that is done has its picture, which decodes and has the recorded size \
                   and hash.",
        holds: files::done_means_there,
    },
    Invariant {
        name: "I4",
        sentence: "Nothing that is cut short stands under a final name; temporary files are known by \
                   their names and gone after the next start.",
        holds: files::nothing_is_cut_short,
    },
    Invariant {
        name: "I5",
        sentence: "No picture of ours, and no sidecar of one, is without a row, and no two rows name one \
                   file.",
        holds: files::pictures_have_rows,
    },
    Invariant {
        name: "I6",
        sentence: "A job file is in the jobs folder, accepted or refused, exactly one of them, and \
                   is never taken in twice.",
        holds: files::drops_are_in_one_place,
    },
    Invariant {
        name: "I7",
        sentence: "The numbers of a render's attempts only grow, what they render only shrinks, and \
                   only the deaths of workers are counted as deaths.",
        holds: rows::attempts_are_in_order,
    },
    Invariant {
        name: "I8",
        sentence: "The database passes its own check, no row refers to one that is missing, its \
                   schema is known, and its totals are those of its rows.",
        holds: rows::the_database_is_sound,
    },
    Invariant {
        name: "I9",
        sentence: "Nothing is written outside of the daemon's folders, and nothing of the user's is \
                   changed.",
        holds: files::the_rest_is_untouched,
    },
    Invariant {
        name: "I10",
        sentence: "The daemon answers within ten seconds, or has ended with a code that is \
                   documented; what it says of itself is true.",
        holds: answers::it_serves_or_has_ended,
    },
    Invariant {
        name: "I11",
        sentence: "With the fault gone, a good job that is handed over is done within a minute.",
        holds: answers::a_good_job_is_done,
    },
    Invariant {
        name: "I13",
        sentence: "What users read names the file and a reason, and holds no secret and no control \
                   characters.",
        holds: answers::words_are_clean,
    },
];

/// As I11 has it, of a job that takes milliseconds.
const MINUTE: Duration = Duration::from_secs(60);

/// Which invariants have fallen, each with what is wrong.
pub fn fallen(house: &House, ledger: &Ledger, daemon: Daemon) -> Vec<String> {
    all_fallen(&Scene { house, ledger, daemon, patience: MINUTE })
}

/// As [`fallen`], within limits that are told.
pub fn all_fallen(scene: &Scene) -> Vec<String> {
    let told = |invariant: &Invariant| {
        let wrong = (invariant.holds)(scene);
        let Invariant { name, sentence, .. } = invariant;
        (!wrong.is_empty()).then(|| format!("{name}: {sentence} But: {}", wrong.join("; ")))
    };
    INVARIANTS.iter().filter_map(told).collect()
}

/// Whether all tables are there: a kill at the first start leaves some of them to the next one.
pub fn is_made(house: &House) -> bool {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let all = fs::read_dir(migrations).expect("the migrations").count();
    let sql = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    let rows = database::try_rows(&house.path("state/zimaged.sqlite"), sql).unwrap_or_default();
    rows.first().is_some_and(|made| made[0] == all.to_string())
}

/// Whether everything that was handed over has ended, and nothing waits in the jobs folder.
pub fn is_settled(house: &House, ledger: &Ledger) -> bool {
    let is_waiting = |entry: fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.file_name() != ".zimaged.lock"
    };
    if fs::read_dir(house.path("jobs")).into_iter().flatten().flatten().any(is_waiting) {
        return false;
    }
    // A database that is just being made has no tables.
    let sql = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM rejections), \
               (SELECT count(*) FROM renders WHERE state IN ('queued', 'running'))";
    let rows = database::try_rows(&house.path("state/zimaged.sqlite"), sql).unwrap_or_default();
    let Some([known, open]) = rows.first().map(Vec::as_slice) else { return false };
    let answered = ledger.requests.iter().filter(|asked| asked.is_answered).count();
    open == "0" && known.parse().is_ok_and(|known: usize| known >= ledger.drops.len() + answered)
}
