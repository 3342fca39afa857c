//! Writes docs/json.md from the types of the answers, so that it can say nothing else.

use std::fmt::Write;
use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::history::Begun;
use super::init::QueueFolders;
use super::report::RunReport;
use crate::doctor::Diagnosis;
use crate::engine::z_image::inspect::Inspected;
use crate::engine::z_image::lora::inspect::InspectedLora;
use crate::engine::z_image::new_model::WrittenModel;
use crate::engine::z_image::quantise::Quantised;
use crate::hooks::HookMessage;
use crate::hub::{Fetched, RemovedModel};
use crate::queue::control::PauseAnswer;
use crate::queue::copies::BackedUp;
use crate::queue::replay::Replays;
use crate::queue::sheet::SheetAnswer;
use crate::queue::verify::Verified;
use crate::queue::{
    CheckedJob, Edited, ErrorAnswer, FitAnswer, JobMistakes, ListedModel, Pruned, QueueStatus,
    Restored, Retries, Shown, Submitted, VerifiedModel, Waited,
};
use crate::report::{MachineReport, WrittenReport};
use crate::store::{Cancelled, JobRow, RejectionRow};

const HEAD: &str = "# JSON

With `--json` each command prints its answer on standard output, and nothing else there. Where
there is no answer it prints an [ErrorAnswer](#erroranswer) in its place, also on standard output;
the exit code is that of the command without `--json`. Warnings, the log, and which queue it is
where that is not to be seen, go to standard error, as text. `check` answers for each file, one
after the other. What `hooks` stands for is no command: [hooks](hooks.md) of daemon.toml are told
it.

All fields are always there; what is not known is `null`. Names that end in `_at_ms`, `_after_ms`
or are `at_ms` or `since_ms` are moments, UTC, in milliseconds since the epoch; others that end in
`_ms` are milliseconds, `_s` seconds, `_bytes` bytes. A later version may add fields; it renames or
removes none without saying so in CHANGELOG.md.

This page is written from the program's types by a test, and another runs the commands and compares.
";

/// What a command answers: its name, and the type of its answer.
type Command = (&'static str, fn(&mut SchemaGenerator) -> Value);

const COMMANDS: &[Command] = &[
    ("backup", of::<BackedUp>),
    ("cancel", of::<Cancelled>),
    ("check", of::<CheckedJob>),
    ("check (mistakes)", of::<JobMistakes>),
    ("doctor", of::<Diagnosis>),
    ("edit", of::<Edited>),
    ("fit", of::<FitAnswer>),
    ("fit --table", of::<Vec<FitAnswer>>),
    ("history begin", of::<Begun>),
    ("history prune", of::<Pruned>),
    ("hooks", of::<HookMessage>),
    ("init", of::<QueueFolders<'_>>),
    ("list", of::<Vec<JobRow>>),
    ("list --rejected", of::<Vec<RejectionRow>>),
    ("model convert, model synth", of::<WrittenModel>),
    ("model fetch", of::<Fetched>),
    ("model inspect", of::<Inspected>),
    ("model inspect (a LoRA)", of::<InspectedLora>),
    ("model list", of::<Vec<ListedModel>>),
    ("model quantize", of::<Quantised>),
    ("model remove", of::<RemovedModel>),
    ("model verify", of::<VerifiedModel>),
    ("pause, resume", of::<PauseAnswer>),
    ("replay", of::<Replays>),
    ("report", of::<WrittenReport>),
    ("report's file report.json", of::<MachineReport>),
    ("restore", of::<Restored>),
    ("retry", of::<Retries>),
    ("run --until-idle", of::<RunReport>),
    ("sheet", of::<SheetAnswer>),
    ("show", of::<Shown>),
    ("status", of::<QueueStatus>),
    ("submit", of::<Submitted>),
    ("submit --wait, wait", of::<Waited>),
    ("verify", of::<Verified>),
];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn page() -> String {
    let mut generator = SchemaGenerator::default();
    let mut page = format!("{HEAD}\n| command | answer |\n| --- | --- |\n");
    for (command, answer) in COMMANDS {
        let names: Vec<String> = command.split(", ").map(|name| format!("`{name}`")).collect();
        let answer = type_of(&answer(&mut generator));
        writeln!(page, "| {} | {answer} |", names.join(", ")).expect("memory");
    }
    of::<ErrorAnswer>(&mut generator);
    for (name, schema) in generator.definitions() {
        page += &section(name, schema);
    }
    page
}

fn section(name: &str, schema: &Value) -> String {
    format!("\n## {name}\n{}\n\n{}", meaning(schema), body(schema))
}

/// The fields of an object, or the values that there are.
fn body(schema: &Value) -> String {
    if let Some(properties) = schema["properties"].as_object() {
        return format!("| field | type | meaning |\n| --- | --- | --- |\n{}", fields(properties));
    }
    let values = variants(schema);
    if values.is_empty() {
        return format!("A {}.\n", type_of(schema));
    }
    values.iter().map(|value| format!("- {}\n", variant(value))).collect()
}

fn fields(properties: &Map<String, Value>) -> String {
    let row = |(name, schema): (&String, &Value)| {
        format!("| `{name}` | {} | {} |\n", type_of(schema), meaning(schema))
    };
    properties.iter().map(row).collect()
}

fn variants(schema: &Value) -> Vec<Value> {
    let listed = schema["oneOf"].as_array().or_else(|| schema["enum"].as_array());
    listed.cloned().unwrap_or_default()
}

fn variant(schema: &Value) -> String {
    let nested = variants(schema);
    if !nested.is_empty() {
        return nested.iter().map(variant).collect::<Vec<_>>().join(", ");
    }
    match meaning(schema) {
        text if text.is_empty() => type_of(schema),
        text => format!("{}: {text}", type_of(schema)),
    }
}

/// A type in words.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(either) = schema["anyOf"].as_array() {
        return either.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(word) = schema["const"].as_str().or_else(|| schema.as_str()) {
        return format!("`\"{word}\"`");
    }
    if let Some(properties) = schema["properties"].as_object() {
        let field = |(name, schema): (&String, &Value)| format!("`{name}` {}", type_of(schema));
        return format!("object: {}", properties.iter().map(field).collect::<Vec<_>>().join(", "));
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(word) => word.clone(),
        Value::Array(words) => {
            words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => panic!("a type that this page has no words for: {schema}"),
    }
}

/// The type's or the field's own documentation, in one line and without links into the source.
fn meaning(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let links = regex::Regex::new(r"\[(`[^`]*`)\](\([^)]*\))?").expect("a pattern");
    links.replace_all(&text, "$1").replace('|', "\\|")
}

// newcomer 22, newcomer 23
#[test]
fn the_page_on_json_is_what_the_types_say() {
    let page = page();
    let actual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/json.md");
    std::fs::write(&actual, &page).expect("a writable folder");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let expected = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(page == expected, "if it is meant: cp {} {}", actual.display(), committed.display());
}

#[test]
fn every_field_of_an_answer_has_a_meaning() {
    let page = page();
    let without: Vec<&str> = page.lines().filter(|line| line.ends_with("|  |")).collect();
    assert!(without.is_empty(), "say it beside the field: {without:#?}");
}
