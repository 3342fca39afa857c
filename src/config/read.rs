//! The text of `daemon.toml` to a [`Config`], key by key.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::hooks::hooks;
use super::http::http;
use super::power::power;
use super::units::{bytes, duration_ms};
use super::{Config, ModelChoice, WorkerLimits};
use crate::engine::{DeviceChoice, EngineKind, ModelKind, ModelPlace};
use crate::files;
use crate::job::hints;
use crate::job::parameters::{PARAMETERS, Parameter, read_values};
use crate::job::spec::Limits;
use crate::job::spec::fields::{self, Bounds};
use crate::ladder::Prefer;
use crate::problem::Problem;
use crate::table::{self, Check, Mistake, Table, check};

/// Keys that people look for at the top, with the sections that they stand in.
const SECTIONS: [(&str, &[&str]); 8] = [
    ("folders", &["jobs", "outputs", "state", "wildcards", "loras"]),
    ("device", &["index", "memory_limit", "reserve", "idle_release"]),
    ("oom", &["prefer"]),
    ("output", &["sidecar"]),
    ("power", &["inhibit_sleep", "quiet_hours", "temperature_max_c", "power_max_w"]),
    ("hooks", &["on_done", "on_failed", "webhook", "webhook_private"]),
    ("http", &["enabled", "listen", "token", "hosts"]),
    ("worker", &["load_timeout", "step_timeout", "deaths_max", "attempts_max", "backoff"]),
];

/// A prompt travels to the worker in one line of at most 1 MiB, and JSON may escape it.
const PROMPT_BYTES_MAX: usize = 64 << 10;

/// No WebP has a longer side, in pixels.
const SIDE_MAX: u32 = 16_383;

/// No wait is longer than a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Longer waits between two starts of a worker only hide a broken machine.
const BACKOFF_MS_MAX: u64 = 5 * 60 * 1000;

/// `None` where no model is named.
fn model(table: &mut Table, folder: &Path) -> Option<ModelPlace> {
    let mut read = |key| table.read(key, |value| path(value, folder));
    let [named, text_encoder, vae] = ["path", "text_encoder", "vae"].map(&mut read);
    let kinds =
        [("turbo", ModelKind::Turbo), ("base", ModelKind::Base), ("de_turbo", ModelKind::DeTurbo)];
    let kind = table.read("kind", |value| check::choice(value, &kinds));
    match named {
        Some(path) => Some(ModelPlace { path, text_encoder, vae, kind }),
        None => {
            let keys = ["text_encoder", "vae", "kind"].into_iter();
            for key in keys.filter(|key| table.has(key)).collect::<Vec<_>>() {
                let mistake = Mistake::new("belongs to a model, and none is named");
                table
                    .mistake(key, mistake.help("name the file or folder of the transformer: path"));
            }
            None
        }
    }
}

/// So many models may have names.
const MODELS_MAX: usize = 32;

/// `[models.NAME]`: the keys are those of `[model]`.
fn named_model(name: &str, table: &mut Table, folder: &Path) -> Check<ModelPlace> {
    fields::model_name(&DeValue::String(name.into()))?;
    let place = model(table, folder);
    place.ok_or_else(|| Mistake::new("has no path").help("name its file or folder: path = \"...\""))
}

pub(super) fn config(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
    table::read(text, key_hint, |top| {
        let engines = [("z-image", EngineKind::ZImage), ("fake", EngineKind::Fake)];
        let engine = top
            .read("engine", |value| check::choice(value, &engines))
            .unwrap_or(EngineKind::ZImage);
        let [jobs, outputs, state, wildcards, loras] =
            top.section("folders", |table| folders(table, folder));
        let model = top.section("model", |table| model(table, folder));
        let models = top
            .named_sections("models", MODELS_MAX, |name, table| named_model(name, table, folder));
        let device = top.section("device", device);
        let prefers = [("quality", Prefer::Quality), ("speed", Prefer::Speed)];
        let prefer = top
            .section("oom", |table| table.read("prefer", |value| check::choice(value, &prefers)));
        let limits = top.section("limits", limits);
        let sidecars = [("none", false), ("json", true)];
        let sidecar = top.section("output", |table| {
            table.read("sidecar", |value| check::choice(value, &sidecars)).unwrap_or(false)
        });
        Some(Config {
            file: None,
            jobs,
            outputs,
            state,
            wildcards,
            loras,
            engine,
            model: model.map_or_else(
                || ModelChoice::Miniature { beside: folder.join("models/mini") },
                ModelChoice::Named,
            ),
            models: models.into_iter().collect(),
            device: device.choice,
            memory_limit_bytes: device.memory_limit_bytes,
            reserve_bytes: device.reserve_bytes,
            idle_release_ms: device.idle_release_ms,
            prefer: prefer.unwrap_or(Prefer::Quality),
            defaults: top.section("defaults", |table| {
                // Whether the sides fit the model is checked when the model is known.
                let bounds = Bounds { limits: &limits, granularity: 1 };
                read_values(table, &bounds, |parameter| parameter.has_default)
            }),
            worker: top.section("worker", worker),
            power: top.section("power", power),
            sidecar,
            http: top.section("http", http),
            hooks: top.section("hooks", hooks),
            limits,
        })
    })
}

/// What an unknown key of `daemon.toml` should be instead.
fn key_hint(path: &str) -> Option<String> {
    let is_default = |key: &&Parameter| key.has_default && key.name == path;
    let misplaced = SECTIONS.iter().find(|(_, keys)| keys.contains(&path)).map(|(name, _)| *name);
    let section = misplaced.or_else(|| PARAMETERS.iter().find(is_default).map(|_| "defaults"));
    match section {
        Some(section) => Some(format!("put it under [{section}]")),
        None if path.starts_with("defaults.") => hints::key_hint(path),
        None => None,
    }
}

fn folders(table: &mut Table, folder: &Path) -> [PathBuf; 5] {
    let keys = ["jobs", "outputs", "state", "wildcards", "loras"];
    let paths = keys.map(|key| {
        table.read(key, |value| path(value, folder)).unwrap_or_else(|| folder.join(key))
    });
    for (i, key) in keys.into_iter().enumerate() {
        if let Some(twin) = paths[..i].iter().position(|path| *path == paths[i]) {
            let given = if table.has(key) { key } else { keys[twin] };
            let mistake = Mistake::new(format!("{} and {key} are the same folder", keys[twin]));
            table.mistake(given, mistake.help("give each a folder of its own"));
        }
    }
    paths
}

/// A path, relative to `folder`.
fn path(value: &DeValue, folder: &Path) -> Check<PathBuf> {
    path_of(check::text(value)?, folder)
}

/// As [`path`], of a text. Of what a shell would put in its place, only `~` is known.
pub(super) fn path_of(text: &str, folder: &Path) -> Check<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return Err(Mistake::new(format!("{} is no path", check::quoted(text))));
    }
    let is_variable = |(start, _): (usize, &str)| {
        text[start + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || "_{(".contains(c))
    };
    if text.match_indices('$').any(is_variable) {
        let mistake = Mistake::new("variables like $HOME have no meaning here");
        return Err(mistake.help("write the folder itself, or ~/ for your home"));
    }
    match text.strip_prefix('~') {
        None => Ok(folder.join(text)),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let missing = || Mistake::new("~ has no meaning: HOME is not set").help("write it out");
            Ok(files::home().ok_or_else(missing)?.join(rest.trim_start_matches('/')))
        }
        Some(_) => {
            let mistake = Mistake::new(format!("{} names another user", check::quoted(text)));
            Err(mistake.help("write the folder itself, or ~/ for your home, or ./~ for its name"))
        }
    }
}

/// `[device]`.
struct Device {
    choice: DeviceChoice,
    memory_limit_bytes: Option<u64>,
    reserve_bytes: Option<u64>,
    idle_release_ms: Option<u64>,
}

fn device(table: &mut Table) -> Device {
    let index = table.read("index", |value| check::whole(value, 0..=u32::MAX));
    let cuda = DeviceChoice::Cuda { index: index.unwrap_or(0) };
    let kinds = [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cpu-bf16", DeviceChoice::CpuBf16),
        ("cuda", cuda),
    ];
    let choice =
        table.read("kind", |value| check::choice(value, &kinds)).unwrap_or(DeviceChoice::Auto);
    if index.is_some() && choice != cuda {
        table.mistake(
            "index",
            Mistake::new("only a CUDA card has an index").help("add kind = \"cuda\""),
        );
    }
    Device {
        choice,
        memory_limit_bytes: table.read("memory_limit", |value| bytes(value, 1 << 20..=1 << 50)),
        reserve_bytes: table.read("reserve", |value| bytes(value, 0..=1 << 50)),
        idle_release_ms: table.read("idle_release", |value| duration_ms(value, 1..=DAY_MS)),
    }
}

/// A square of the highest side; the worker gives a decoder memory for twice as many.
const INPUT_PIXELS_MAX: u64 = 16_384 * 16_384;

fn limits(table: &mut Table) -> Limits {
    let default = Limits::default();
    Limits {
        file_bytes_max: table
            .read("file_bytes_max", |value| bytes(value, 1 << 10..=64 << 20))
            .unwrap_or(default.file_bytes_max),
        renders_max: table
            .read("renders_max", |value| check::whole(value, 1..=100_000))
            .unwrap_or(default.renders_max),
        prompt_bytes_max: table
            .read("prompt_bytes_max", |value| check::whole(value, 1..=PROMPT_BYTES_MAX))
            .unwrap_or(default.prompt_bytes_max),
        side_max: table
            .read("side_max", |value| check::whole(value, fields::SIDE_MIN..=SIDE_MAX))
            .unwrap_or(default.side_max),
        steps_max: table
            .read("steps_max", |value| check::whole(value, 1..=1000))
            .unwrap_or(default.steps_max),
        input_bytes_max: table
            .read("input_bytes_max", |value| bytes(value, 1 << 10..=1 << 30))
            .unwrap_or(default.input_bytes_max),
        input_pixels_max: table
            .read("input_pixels_max", |value| check::whole(value, 1..=INPUT_PIXELS_MAX))
            .unwrap_or(default.input_pixels_max),
    }
}

fn worker(table: &mut Table) -> WorkerLimits {
    let default = WorkerLimits::default();
    let load_timeout_ms = table.read("load_timeout", |value| duration_ms(value, 1..=DAY_MS));
    let step_timeout_ms = table.read("step_timeout", |value| duration_ms(value, 1..=DAY_MS));
    let backoff_ms = table.read("backoff", |value| duration_ms(value, 1..=BACKOFF_MS_MAX));
    WorkerLimits {
        load_timeout_ms: load_timeout_ms.unwrap_or(default.load_timeout_ms),
        step_timeout_ms: step_timeout_ms.unwrap_or(default.step_timeout_ms),
        deaths_max: table
            .read("deaths_max", |value| check::whole(value, 1..=100))
            .unwrap_or(default.deaths_max),
        attempts_max: table
            .read("attempts_max", |value| check::whole(value, 1..=1000))
            .unwrap_or(default.attempts_max),
        backoff_ms: backoff_ms.unwrap_or(default.backoff_ms),
    }
}
