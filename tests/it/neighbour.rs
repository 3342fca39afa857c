//! Another user of the machine, who may write into the jobs folder: nothing that only the daemon
//! may read comes to light, and nothing outside is changed. The daemon is root here, which may do
//! everything.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::House;

/// As `nobody` is called on Debian.
const NOBODY: libc::c_long = 65534;

/// So long the other user goes on: thousands of rounds, and some hundred scans.
const ATTACK: Duration = Duration::from_secs(3);

/// What must not come to light: once as a job, and once as a text with a mistake, which a report
/// would quote.
const SECRETS: [(&str, &str); 2] =
    [("job.toml", "prompt = 'SECRET'\n"), ("text.toml", "SECRET is no job\n")];

/// Makes the calling thread another user's: the system call, unlike the function of its name, is
/// the thread's alone.
fn become_nobody() {
    // SAFETY: the calls take numbers, and a null pointer for no groups.
    let changed = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
            libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
        ]
    };
    assert_eq!(changed, [0; 3], "{}", std::io::Error::last_os_error());
}

/// What the other user tries in one round. Whatever is refused is tried again.
fn attack(jobs: &Path, outside: &Path, round: usize) {
    let [job, text] = SECRETS.map(|(name, _)| outside.join(name));
    let file = |name: &str| jobs.join(format!("{name}-{}.toml", round % 8));
    let swap = jobs.join(format!("swap-{round}"));
    let _ = symlink(&job, file("link"));
    let _ = symlink(&text, file("text"));
    let _ = fs::hard_link(&job, file("hard"));
    let _ = symlink(&job, jobs.join(format!(".taken-{:032x}-a.toml", round % 8)));
    // A job becomes a link between the look and the reading, and back again.
    let _ = fs::write(file("race"), "prompt = 'a fox'\n");
    let _ = symlink(&text, &swap);
    let _ = fs::rename(&swap, file("race"));
    // The daemon's own names lead outside.
    for name in [".zimaged.lock", "accepted", "rejected"].into_iter().skip(round % 3).take(1) {
        let aside = jobs.join(format!("aside-{round}"));
        let _ = fs::rename(jobs.join(name), &aside);
        let target = if name == ".zimaged.lock" { outside.join("notes") } else { outside.into() };
        let _ = symlink(target, jobs.join(name));
        thread::sleep(Duration::from_millis(3));
        let _ = fs::remove_file(jobs.join(name));
        let _ = fs::rename(&aside, jobs.join(name));
    }
    // A folder for reports in which their names lead outside.
    let own = jobs.join(format!("own-{round}"));
    if round.is_multiple_of(7) && fs::create_dir(&own).is_ok() {
        for name in ["link", "text", "race"] {
            let report = format!("{name}-{}.toml.error.txt", round % 8);
            let _ = symlink(outside.join("notes"), own.join(&report));
            let _ = fs::hard_link(outside.join("empty"), own.join(format!("2-{report}")));
        }
        let _ = fs::rename(jobs.join("rejected"), jobs.join(format!("aside-{round}-r")));
        let _ = fs::rename(&own, jobs.join("rejected"));
    }
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    files.map(|path| (path.clone(), fs::read(&path).expect("our own file"))).collect()
}

/// All texts below a folder, links not followed.
fn texts(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => texts(&entry.path(), found),
            kind if kind.is_file() => {
                found.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
            }
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs root: it acts as another user"]
fn another_user_learns_and_changes_nothing_by_the_jobs_folder() {
    let mut house = House::new("");
    let (jobs, outside) = (house.path("jobs"), house.path("outside"));
    fs::create_dir(&outside).expect("a writable folder");
    for (name, text) in SECRETS.into_iter().chain([("notes", "the user's own"), ("empty", "")]) {
        fs::write(outside.join(name), text).expect("a writable folder");
        fs::set_permissions(outside.join(name), Permissions::from_mode(0o600)).expect("ours");
    }
    fs::set_permissions(house.path(""), Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(&jobs, Permissions::from_mode(0o777)).expect("ours");
    let before = contents(&outside);
    house.start();
    // A folder that is wrong while the daemon starts ends the start.
    house.until_logged("everybody on this machine may drop jobs");
    let is_over = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            become_nobody();
            assert!(fs::read(outside.join("notes")).is_err(), "another user");
            (0..)
                .take_while(|round| {
                    attack(&jobs, &outside, *round);
                    !is_over.load(Ordering::Relaxed)
                })
                .count()
        });
        thread::sleep(ATTACK);
        is_over.store(true, Ordering::Relaxed);
        attacker.join().expect("the other user")
    });
    assert!(rounds > 100, "{rounds}");
    assert_eq!(contents(&outside), before, "changed\n{}", house.log());
    // What the other user has left in the daemon's places is removed by hand.
    for entry in fs::read_dir(&jobs).expect("the folder").flatten() {
        let is_own = entry.file_name().to_string_lossy().starts_with("own-");
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let is_of_daemon = ["accepted", "rejected"].iter().any(|name| entry.file_name() == *name);
        if is_own || is_link && is_of_daemon {
            let _ = fs::remove_file(entry.path());
        }
    }
    // Links that were left are refused when they have not changed for some seconds.
    house.until_logged("it is a link");
    house.drop_job("good.toml", "prompt = 'good'\n");
    house.until_sql(
        "SELECT r.state FROM renders r JOIN jobs j ON j.id = r.job_id WHERE file_name = 'good.toml'",
        "done",
    );
    let mut told = house.log();
    texts(&jobs, &mut told);
    for column in ["SELECT text FROM jobs", "SELECT reason FROM rejections"] {
        told += &house.rows(column).concat().concat();
    }
    assert!(!told.contains("SECRET"), "{told}");
}
