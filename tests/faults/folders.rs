//! Folders of the daemon's that are removed under it and made again.

use std::fs;

use crate::house::{Harried, PRECIOUS};
use crate::support::House;
use crate::trouble::{Trouble, drop_job, request_job};

fn remove(it: &Harried, folder: &str) {
    it.house.until("it is gone", || fs::remove_dir_all(it.house.path(folder)).ok());
}

fn exists(house: &House, path: &str) -> bool {
    house.path(path).exists()
}

/// The files that were accepted before are the user's to remove, and so there are none.
pub const CASES: [Trouble; 4] = [
    Trouble {
        fault: "the outputs are removed while a picture is made",
        feed: drop_job,
        begin: |it| remove(it, "outputs"),
        is_felt: |house| exists(house, "outputs"),
        lift: |it| fs::write(it.house.path(PRECIOUS.0), PRECIOUS.1).unwrap(),
    },
    Trouble {
        fault: "the jobs folder is removed",
        feed: request_job,
        begin: |it| remove(it, "jobs"),
        is_felt: |house| exists(house, "jobs/.zimaged.lock"),
        lift: drop_job,
    },
    Trouble {
        fault: "the folder of accepted files is removed",
        feed: request_job,
        begin: |it| remove(it, "jobs/accepted"),
        is_felt: |_| true,
        lift: drop_job,
    },
    Trouble {
        fault: "the folder of refused files is removed",
        feed: request_job,
        begin: |it| remove(it, "jobs/rejected"),
        is_felt: |_| true,
        lift: |it| it.drop_file("steps = 'many'\n", 0),
    },
];
