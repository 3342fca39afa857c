//! Cases that are tried beside each other: each waits for most of its time.

use std::thread;

/// Tries all of them, and panics where one of them does.
pub fn try_all<T: Send>(cases: impl IntoIterator<Item = T>, try_one: impl Fn(T) + Sync) {
    let try_one = &try_one;
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || try_one(case));
        }
    });
}
