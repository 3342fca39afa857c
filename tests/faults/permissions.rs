//! Permissions that are taken away while the daemon works, and given back. They count for root as
//! well: see [`Harried::heeds_modes`].

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::house::Harried;
use crate::support::House;
use crate::trouble::{Trouble, drop_job, holds};

fn set_mode(it: &Harried, folder: &str, mode: u32) {
    fs::set_permissions(it.house.path(folder), Permissions::from_mode(mode)).unwrap();
}

fn is_denied(house: &House) -> bool {
    house.log().contains("Permission denied")
}

/// Nothing can be made in it, or removed from it.
const CLOSED: u32 = 0o555;
const OPEN: u32 = 0o755;

pub const CASES: [Trouble; 6] = [
    Trouble {
        fault: "the outputs may not be written",
        feed: drop_job,
        begin: |it| set_mode(it, "outputs", CLOSED),
        is_felt: holds,
        lift: |it| set_mode(it, "outputs", OPEN),
    },
    Trouble {
        fault: "the jobs folder may not be written",
        feed: drop_job,
        begin: |it| set_mode(it, "jobs", CLOSED),
        is_felt: is_denied,
        lift: |it| set_mode(it, "jobs", OPEN),
    },
    Trouble {
        fault: "the jobs folder may not be read",
        feed: drop_job,
        begin: |it| set_mode(it, "jobs", 0),
        is_felt: is_denied,
        lift: |it| set_mode(it, "jobs", OPEN),
    },
    Trouble {
        fault: "the folder of accepted files may not be written",
        feed: drop_job,
        begin: |it| set_mode(it, "jobs/accepted", CLOSED),
        is_felt: is_denied,
        lift: |it| set_mode(it, "jobs/accepted", OPEN),
    },
    Trouble {
        fault: "the folder of refused files may not be written",
        feed: |it| {
            drop_job(it);
            it.drop_file("steps = 'many'\n", 0);
        },
        begin: |it| set_mode(it, "jobs/rejected", CLOSED),
        is_felt: is_denied,
        lift: |it| set_mode(it, "jobs/rejected", OPEN),
    },
    Trouble {
        fault: "the state folder may not be written",
        feed: drop_job,
        begin: |it| set_mode(it, "state", CLOSED),
        is_felt: is_denied,
        lift: |it| set_mode(it, "state", OPEN),
    },
];
