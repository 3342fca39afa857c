//! Several models by name: jobs say which, they are changed rarely, and one that is gone holds only
//! what waits for it.

use std::fs;

use crate::support::{House, said};

const MODELS: &str = "[models.base]\npath = \"base\"\n[models.other]\npath = \"other\"\n";

/// The models in the order in which they made pictures.
fn order(house: &House) -> Vec<String> {
    let rows = house.rows(
        "SELECT w.model_key FROM attempts a JOIN workers w ON w.id = a.worker_id \
         WHERE a.outcome = 'done' ORDER BY a.id",
    );
    rows.into_iter().flatten().collect()
}

#[test]
fn jobs_are_rendered_by_the_model_that_they_name_and_models_change_rarely() {
    let mut house = House::new(MODELS);
    for number in 0..6 {
        let model = if number % 2 == 0 { "" } else { "model = 'base'\n" };
        let text = format!("prompt = 'picture {number}'\n{model}");
        fs::write(house.path(&format!("jobs/{number}.toml")), text).unwrap();
    }
    let run = house.zimaged(&["run", "--until-idle"]);
    assert!(run.status.success(), "{}", said(&run));
    assert_eq!(order(&house), ["", "", "", "base", "base", "base"]);
    assert_eq!(house.value("SELECT count(*) FROM workers"), "2", "each was loaded once");
    house.start();
    let jobs = house.json(&["list"]);
    let models: Vec<&str> =
        jobs.as_array().unwrap().iter().map(|job| job["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["base", "", "base", "", "base", ""]);
    let status = house.json(&["status"]);
    assert_eq!(status["model"]["model_key"], "");
    let shown = house.zimaged(&["show", "2"]);
    assert!(said(&shown).contains("model base"), "{}", said(&shown));
    house.assert_invariants();
}

#[test]
fn a_higher_priority_changes_the_model_at_once() {
    let mut house = House::started(MODELS);
    house.until_sql("SELECT count(*) FROM workers", "1");
    house.zimaged(&["pause"]);
    for (prompt, keys) in [("a", ""), ("b", ""), ("c", "model = 'other'\npriority = 5\n")] {
        house.drop_job(&format!("{prompt}.toml"), &format!("prompt = '{prompt}'\n{keys}"));
    }
    house.until_sql("SELECT count(*) FROM renders", "3");
    house.zimaged(&["resume"]);
    house.until_sql("SELECT count(*) FROM renders WHERE state = 'done'", "3");
    assert_eq!(order(&house), ["other", "", ""]);
    assert_eq!(house.stop("TERM"), Some(0));
}

#[test]
fn a_model_that_is_not_named_is_refused_with_the_names_that_there_are() {
    let house = House::new(MODELS);
    fs::write(house.path("a.toml"), "prompt = 'a'\nmodel = 'bass'\n").unwrap();
    let refused = house.zimaged(&["submit", "a.toml"]);
    assert_eq!(refused.status.code(), Some(3));
    for part in ["daemon.toml names no model \"bass\"", "use base, other"] {
        assert!(said(&refused).contains(part), "{}", said(&refused));
    }
}

#[test]
fn a_model_that_vanished_from_the_configuration_holds_only_what_waits_for_it() {
    let mut house = House::started(MODELS);
    house.until_sql("SELECT count(*) FROM workers", "1");
    house.zimaged(&["pause"]);
    for (name, model) in [("gone", "model = 'base'\npriority = 9\n"), ("stays", "")] {
        house.drop_job(&format!("{name}.toml"), &format!("prompt = '{name}'\n{model}"));
    }
    house.until_sql("SELECT count(*) FROM renders", "2");
    house.stop("TERM");
    let text = fs::read_to_string(house.path("daemon.toml")).unwrap();
    fs::write(house.path("daemon.toml"), text.replace("[models.base]\npath = \"base\"\n", ""))
        .unwrap();
    house.start();
    house.zimaged(&["resume"]);
    house.until_sql("SELECT state FROM renders WHERE prompt = 'stays'", "done");
    assert_eq!(house.value("SELECT state FROM renders WHERE prompt = 'gone'"), "queued");
    let reason = house.until_held("base");
    assert!(reason.contains("daemon.toml names no model base (it names other)"), "{reason}");
    for (language, told) in [("en", "Its jobs wait"), ("zh", "该模型暂不可用")] {
        let page = house.ask("GET /queue", &[("Accept-Language", language)], b"").ok().text();
        assert!(page.contains(told) && page.contains("names no model base"), "{page}");
    }
    let gone = house.value("SELECT job_id FROM renders WHERE prompt = 'gone'");
    let shown = house.zimaged(&["show", &gone]);
    assert!(said(&shown).contains("waits for its model: daemon.toml names no"), "{}", said(&shown));
    house.stop("TERM");
    // What nobody can render does not keep a run from its end.
    let run = house.zimaged(&["run", "--until-idle"]);
    assert_eq!(run.status.code(), Some(75), "{}", said(&run));
    for part in ["renders wait for their model", "1 render left in the queue"] {
        assert!(said(&run).contains(part), "{}", said(&run));
    }
}

#[test]
fn a_named_model_that_cannot_be_loaded_stops_no_other() {
    let mut house = House::new(MODELS);
    fs::create_dir_all(house.path("base")).unwrap();
    fs::write(house.path("base/load.txt"), "exit 1").unwrap();
    house.start();
    house.drop_job("a.toml", "prompt = 'a'\nmodel = 'base'\npriority = 5\n");
    house.until_sql("SELECT count(*) FROM renders", "1");
    house.drop_job("b.toml", "prompt = 'b'\n");
    house.until_sql("SELECT state FROM renders WHERE prompt = 'b'", "done");
    assert_eq!(house.value("SELECT state FROM renders WHERE prompt = 'a'"), "queued");
    house.until_held("base");
    assert_eq!(house.stop("TERM"), Some(0));
}

#[test]
fn a_model_is_inspected_by_its_name_too() {
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini");
    let config = format!("[model]\npath = '/nowhere'\n[models.small]\npath = '{mini}'\n");
    let house = House::with_config(&config);
    let named = house.json(&["model", "inspect", "small"]);
    assert_eq!(named["path"], house.json(&["model", "inspect", mini])["path"]);
    let unknown = house.zimaged(&["model", "inspect", "tiny"]);
    assert_eq!(unknown.status.code(), Some(78), "{}", said(&unknown));
    assert!(said(&unknown).contains("no model of daemon.toml, no folder of models/ and no path"));
}
