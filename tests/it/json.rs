//! docs/json.md against what the commands answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::support::House;

/// What docs/json.md says.
struct Page {
    /// The type of a command's answer.
    answers: BTreeMap<String, String>,
    /// The types of an object's fields, by the object's name.
    objects: BTreeMap<String, BTreeMap<String, String>>,
    /// The words of an enumeration, by its name.
    words: BTreeMap<String, BTreeSet<String>>,
}

fn page() -> Page {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md"));
    let mut page =
        Page { answers: BTreeMap::new(), objects: BTreeMap::new(), words: BTreeMap::new() };
    let mut section = String::new();
    for line in text.expect("docs/json.md").lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if let (true, [name, kind, ..]) = (line.starts_with("| `"), cells.as_slice()) {
            let (name, kind) = (name.replace('`', ""), (*kind).to_owned());
            match section.is_empty() {
                true => drop(page.answers.insert(name, kind)),
                false => {
                    page.objects.entry(section.clone()).or_default().insert(name, kind);
                }
            }
        } else if let Some(rest) = line.strip_prefix("- ") {
            let words =
                rest.split('`').filter_map(|part| part.strip_prefix('"')?.strip_suffix('"'));
            let known = page.words.entry(section.clone()).or_default();
            known.extend(words.map(str::to_owned));
        }
    }
    page
}

impl Page {
    /// That the value is of the type that the page gives it.
    fn check(&self, what: &str, value: &Value, kind: &str) {
        if let Some(rest) = kind.strip_suffix(" or null") {
            if !value.is_null() {
                self.check(what, value, rest);
            }
            return;
        }
        if let Some(items) = kind.strip_prefix("list of ") {
            let list = value.as_array().unwrap_or_else(|| panic!("{what} is a list: {value}"));
            return list.iter().for_each(|item| self.check(what, item, items));
        }
        let fits = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => return self.check_named(what, value, kind),
        };
        assert!(fits, "{what} is a {kind}: {value}");
    }

    fn check_named(&self, what: &str, value: &Value, kind: &str) {
        let name = kind.trim_start_matches('[').split(']').next().unwrap_or_default();
        if let Some(fields) = self.objects.get(name) {
            let object = value.as_object().unwrap_or_else(|| panic!("{what} is a {name}: {value}"));
            let found: BTreeSet<&String> = object.keys().collect();
            assert_eq!(found, fields.keys().collect(), "{what}, fields of {name}");
            for (field, kind) in fields {
                self.check(&format!("{what}.{field}"), &object[field], kind);
            }
        } else if let (Some(words), Some(word)) = (self.words.get(name), value.as_str()) {
            assert!(words.contains(word), "{what}: {word} is no {name}");
        } else {
            assert!(self.words.contains_key(name) && value.is_object(), "{what}: {name}? {value}");
        }
    }
}

// newcomer 22, newcomer 23
#[test]
fn every_command_answers_what_the_page_says_and_nothing_else() {
    let page = page();
    let mut asked = BTreeSet::new();
    let mut house = House::started("");
    let job = "prompt = ['a fox', 'black']\ntags = ['zoo']\nseed = 1\n";
    fs::write(house.path("a.toml"), job).expect("a writable folder");
    fs::write(house.path("wrong.toml"), "prompt = 3\n").expect("a writable folder");
    let mut check = |house: &House, command: &'static str, arguments: &[&str]| {
        page.check(command, &house.json(arguments), &page.answers[command]);
        asked.insert(command);
    };
    check(&house, "submit", &["submit", "a.toml"]);
    check(&house, "submit --wait, wait", &["wait", "1"]);
    check(&house, "submit --wait, wait", &["submit", "--wait", "a.toml"]);
    house.drop_job("wrong.toml", "prompt = 3\n");
    house.until_sql("SELECT count(*) FROM rejections", "1");
    check(&house, "list", &["list"]);
    check(&house, "list --rejected", &["list", "--rejected"]);
    check(&house, "show", &["show", "1"]);
    check(&house, "sheet", &["sheet", "1"]);
    check(&house, "doctor", &["doctor"]);
    check(&house, "verify", &["verify"]);
    check(&house, "status", &["status"]);
    let picture = house.pictures().remove(0);
    check(&house, "replay", &["replay", "--as-job", picture.to_str().expect("plain")]);
    check(&house, "verify", &["verify", "--replay", "1"]);
    check(&house, "doctor", &["doctor"]);
    check(&house, "check", &["check", "a.toml"]);
    check(&house, "check (mistakes)", &["check", "wrong.toml"]);
    check(&house, "retry", &["retry", "1"]);
    check(&house, "pause, resume", &["pause", "too hot"]);
    check(&house, "pause, resume", &["resume"]);
    let picture = house.value("SELECT path FROM history WHERE path IS NOT NULL LIMIT 1");
    check(&house, "replay", &["replay", &format!("outputs/{picture}")]);
    fs::write(house.path("later.toml"), "prompt = 'b'\nnot_before = '2999-01-01T00:00:00Z'\n")
        .expect("a writable folder");
    check(&house, "submit", &["submit", "later.toml"]);
    check(&house, "edit", &["edit", "--all", "--priority", "2"]);
    check(&house, "cancel", &["cancel", "--all"]);
    check(&house, "backup", &["backup", "copy.sqlite"]);
    check(&house, "history prune", &["history", "prune", "--older-than", "90d", "--dry-run"]);
    check(&house, "init", &["init", "other"]);
    page.check("an error", &house.json(&["show", "99"]), "[ErrorAnswer]");
    page.check("an error", &house.json(&["submit", "wrong.toml"]), "[ErrorAnswer]");
    house.stop("TERM");
    check(&house, "run --until-idle", &["run", "--until-idle", "a.toml"]);
    check(&house, "report", &["report", "--quick", "--size", "64x64"]);
    let measured = fs::read(house.path("report/report.json")).expect("a report");
    let measured = serde_json::from_slice(&measured).expect("JSON");
    page.check("report.json", &measured, "[MachineReport]");
    check(&house, "restore", &["restore", "copy.sqlite"]);
    models(&mut check);
    let left: Vec<&String> =
        page.answers.keys().filter(|command| !asked.contains(command.as_str())).collect();
    assert_eq!(left, NOT_ASKED, "these commands were not asked");
}

/// What needs a hub, a LoRA, or a program that is told; and what is a file and no answer.
const NOT_ASKED: [&str; 5] =
    ["hooks", "model fetch", "model inspect (a LoRA)", "model remove", "report's file report.json"];

/// Asks what speaks of models.
fn models(check: &mut impl FnMut(&House, &'static str, &[&str])) {
    let mini = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini");
    let house = House::with_config(&format!("[model]\npath = '{mini}'\n[device]\nkind = 'cpu'\n"));
    check(&house, "history begin", &["history", "begin"]);
    check(&house, "fit", &["fit", "256x256", "--vram", "6GiB"]);
    check(&house, "fit --table", &["fit", "--table"]);
    check(&house, "model convert, model synth", &["model", "convert", mini, "models/one"]);
    check(&house, "model quantize", &["model", "quantize", "--model", "models/one"]);
    check(&house, "model list", &["model", "list"]);
    check(&house, "model inspect", &["model", "inspect", "models/one"]);
    check(&house, "model verify", &["model", "verify", "one"]);
}
