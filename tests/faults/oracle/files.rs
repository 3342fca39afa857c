//! Invariants of the folders.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use zimaged::internals::sha256;

use super::{Daemon, Scene};
use crate::house::PRECIOUS;
use crate::support::House;

/// What lies in a house that nobody has damaged.
const AT_THE_TOP: [&str; 7] = ["daemon.toml", "jobs", "log", "model", "outputs", "state", "told"];

/// I3.
pub fn done_means_there(scene: &Scene) -> Vec<String> {
    let sql = "SELECT a.path, a.bytes, a.sha256 FROM renders r JOIN attempts a \
               ON a.render_id = r.id AND a.outcome = 'done' WHERE r.state = 'done'";
    let wrong = |row: &Vec<String>| {
        let content = fs::read(scene.house.path("outputs").join(&row[0])).unwrap_or_default();
        let found = (content.len().to_string(), sha256(&content));
        let is_right = (&found.0, &found.1) == (&row[1], &row[2]) && decodes(&content, &row[2]);
        (!is_right).then(|| format!("{} has {} bytes of {}", row[0], found.0, row[1]))
    };
    scene.house.rows(sql).iter().filter_map(wrong).collect()
}

/// Whether it is a whole picture. Asked once of each content.
fn decodes(content: &[u8], hash: &str) -> bool {
    static DECODED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    if DECODED.lock().unwrap().contains(hash) {
        return true;
    }
    let is_whole = image::load_from_memory(content).is_ok();
    if is_whole {
        DECODED.lock().unwrap().insert(hash.to_owned());
    }
    is_whole
}

/// I4.
pub fn nothing_is_cut_short(scene: &Scene) -> Vec<String> {
    let mut wrong = Vec::new();
    for picture in pictures(scene.house) {
        let name = picture.file_name().unwrap().to_string_lossy().into_owned();
        let content = fs::read(&picture).unwrap_or_default();
        let is_temporary = name.starts_with(".zimaged-") && name.ends_with(".part");
        if !is_temporary && !decodes(&content, &sha256(&content)) {
            wrong.push(format!("{name} is no whole picture"));
        }
        let is_written = "SELECT count(*) FROM attempts WHERE outcome = 'running'";
        if is_temporary && scene.daemon == Daemon::Alive && scene.house.value(is_written) == "0" {
            wrong.push(format!("{name} is still there"));
        }
    }
    for sidecar in sidecars(scene.house) {
        let content = fs::read(&sidecar).unwrap_or_default();
        let said: Option<serde_json::Value> = serde_json::from_slice(&content).ok();
        if said.is_none_or(|said| said["recipe"]["prompt"].is_null()) {
            wrong.push(format!("{} is no whole sidecar", sidecar.display()));
        }
    }
    wrong
}

/// I5.
pub fn pictures_have_rows(scene: &Scene) -> Vec<String> {
    let sql = "SELECT a.path, count(*) FROM attempts a WHERE a.outcome = 'done' GROUP BY a.path";
    let rows: BTreeMap<String, String> =
        scene.house.rows(sql).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let mut wrong: Vec<String> = rows
        .iter()
        .filter(|(_, count)| *count != "1")
        .map(|(path, count)| format!("{count} rows name {path}"))
        .collect();
    if scene.daemon != Daemon::Killed {
        for picture in pictures(scene.house) {
            let name = picture.strip_prefix(scene.house.path("outputs")).unwrap();
            let name = name.display().to_string();
            if !name.ends_with(".part") && !rows.contains_key(&name) {
                wrong.push(format!("{name} has no row"));
            }
        }
        let stems: HashSet<PathBuf> =
            rows.keys().map(|path| Path::new(path).with_extension("")).collect();
        for sidecar in sidecars(scene.house) {
            let name = sidecar.strip_prefix(scene.house.path("outputs")).unwrap();
            let whose = name.with_extension("");
            if !stems.contains(&whose) && !rows.contains_key(&*whose.to_string_lossy()) {
                wrong.push(format!("{} has no row", name.display()));
            }
        }
    }
    wrong
}

/// I6.
pub fn drops_are_in_one_place(scene: &Scene) -> Vec<String> {
    let rows = |sql: &str| by_drop(scene.house.rows(sql).into_iter().map(|row| row[0].clone()));
    let jobs = rows("SELECT file_name FROM jobs WHERE origin = 'drop'");
    let refused = rows("SELECT file_name FROM rejections");
    let folders = ["jobs", "jobs/accepted", "jobs/rejected"];
    let files = folders.map(|folder| files_in(scene.house, folder));
    let places = files.each_ref().map(|files| by_drop(files.iter().cloned()));
    let mut wrong = Vec::new();
    for dropped in &scene.ledger.drops {
        let name = &dropped.name;
        let count = |known: &HashMap<String, usize>| known.get(name).copied().unwrap_or_default();
        let places = places.each_ref().map(count);
        let (jobs, refusals) = (count(&jobs), count(&refused));
        let expected = match places {
            // Known to the database, and not moved yet.
            [1, 0, 0] => jobs + refusals <= 1,
            [0, 1, 0] => (jobs, refusals) == (1, 0) && dropped.pictures > 0,
            [0, 0, 1] => (jobs, refusals) == (0, 1) && dropped.pictures == 0,
            _ => false,
        };
        if !expected {
            let rows = format!("{jobs} jobs, {refusals} refusals");
            wrong.push(format!("{name}: waiting, accepted, refused {places:?}; {rows}"));
        }
    }
    let [_, _, rejected] = &files;
    for report in rejected.iter().filter_map(|name| name.strip_suffix(".error.txt")) {
        if scene.daemon != Daemon::Killed && !rejected.contains(report) {
            wrong.push(format!("a report of {report}, which is not there"));
        }
    }
    wrong
}

/// How many of the names are those of each dropped file, before which others may have been put.
fn by_drop(names: impl Iterator<Item = String>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for name in names {
        let dropped = name.rfind("drop-").map_or(name.as_str(), |at| &name[at..]);
        *counts.entry(dropped.to_owned()).or_default() += 1;
    }
    counts
}

/// I9.
pub fn the_rest_is_untouched(scene: &Scene) -> Vec<String> {
    let house = scene.house;
    let mut wrong: Vec<String> = files_in(house, "")
        .into_iter()
        .filter(|name| !AT_THE_TOP.contains(&name.as_str()))
        .map(|name| format!("{name} was made"))
        .collect();
    let precious = fs::read_to_string(house.path(PRECIOUS.0)).unwrap_or_default();
    if precious != PRECIOUS.1 {
        wrong.push(format!("{} is not what it was", PRECIOUS.0));
    }
    wrong
}

/// The names in a folder of the house, folders too.
fn files_in(house: &House, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(house.path(folder)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// All files below `outputs/` but sidecars and the user's own.
fn pictures(house: &House) -> Vec<PathBuf> {
    let mut found = outputs(house);
    found.retain(|path| !is_sidecar(path));
    found
}

fn sidecars(house: &House) -> Vec<PathBuf> {
    let mut found = outputs(house);
    found.retain(|path| is_sidecar(path));
    found
}

fn is_sidecar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn outputs(house: &House) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&house.path("outputs"), &mut found);
    found.retain(|path| *path != house.path(PRECIOUS.0));
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => collect(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}
