use serde_json::json;

use super::http::Untouched;
use super::*;
use crate::engine::ModelKind;
use crate::job::{AskedPrecision, Format, OnOom, Recipe, Render};

const SHIPPED: &str = include_str!("../../daemon.toml");

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("/srv/z"))
}

fn config(text: &str) -> Config {
    parsed(text).expect("a good configuration")
}

fn model() -> ModelDescription {
    ModelDescription {
        name: "Turbo".to_owned(),
        width: 1024,
        height: 768,
        steps: 8,
        guidance: 0.0,
        granularity: 16,
        side_max: 8192,
    }
}

#[test]
fn an_empty_file_is_all_defaults_beside_it() {
    let expected = Config {
        file: None,
        jobs: "/srv/z/jobs".into(),
        outputs: "/srv/z/outputs".into(),
        state: "/srv/z/state".into(),
        wildcards: "/srv/z/wildcards".into(),
        loras: "/srv/z/loras".into(),
        engine: EngineKind::ZImage,
        model: ModelChoice::Miniature { beside: "/srv/z/models/mini".into() },
        models: Default::default(),
        device: DeviceChoice::Auto,
        memory_limit_bytes: None,
        reserve_bytes: None,
        idle_release_ms: None,
        prefer: Prefer::Quality,
        defaults: ParameterValues::new(),
        limits: Limits::default(),
        worker: WorkerLimits::default(),
        power: PowerConfig::default(),
        sidecar: false,
        http: HttpConfig::default(),
        hooks: HookConfig::default(),
    };
    assert_eq!(config(""), expected);
}

#[test]
fn models_have_names_and_the_keys_of_the_usual_one() {
    let read =
        config("[models.base]\npath = \"base\"\nkind = \"base\"\n[models.my_2]\npath = \"/m\"");
    assert_eq!(read.model_names().collect::<Vec<_>>(), ["", "base", "my_2"]);
    let base = read.with_model("base").expect("it is named").model;
    let place =
        ModelPlace { kind: Some(ModelKind::Base), ..ModelPlace::at(Path::new("/srv/z/base")) };
    assert_eq!(base, ModelChoice::Named(place));
    assert_eq!(read.with_model("other"), None);
    for (text, expected) in [
        ("[models.base]\nkind = \"base\"", "models.base: has no path"),
        ("[models.\"a b\"]\npath = \"m\"", "\"a b\" is no name of a model"),
        ("[models.base]\npath = \"m\"\nvea = \"n\"", "models.base.vea: unknown key"),
        ("[models]\npath = \"m\"", "models.path: expected a table, [models.NAME]"),
    ] {
        let problems = Config::parse(text, Path::new("/srv/z")).expect_err("a mistake");
        assert!(problems.iter().any(|it| it.message.contains(expected)), "{problems:?}");
    }
}

#[test]
fn the_shipped_file_says_what_the_defaults_are() {
    let shipped = config(SHIPPED);
    let built_in = config("");
    let rules = |config: &Config| config.rules(&model(), TimeZone::UTC);
    assert_eq!(rules(&shipped).expect("they fit"), rules(&built_in).expect("they fit"));
    // The miniature that stands beside the file is named; without a name it would be found all the
    // same.
    assert_eq!(shipped.model, ModelChoice::Named(ModelPlace::at(Path::new("/srv/z/models/mini"))));
    let model = built_in.model.clone();
    assert_eq!(Config { defaults: ParameterValues::new(), model, ..shipped }, built_in);
}

#[test]
fn what_the_shipped_file_has_commented_out_is_right_too() {
    let is_key = |line: &str| {
        line.starts_with("[models.")
            || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let uncommented =
        |line: &'static str| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line);
    let text: Vec<&str> = SHIPPED.lines().map(uncommented).collect();
    let text = text.join("\n").replace("kind = \"auto\"", "kind = \"cuda\"");
    let config = config(&text);
    assert_eq!(
        (config.memory_limit_bytes, config.device),
        (Some(6 << 30), DeviceChoice::Cuda { index: 0 })
    );
    assert_eq!(config.idle_release_ms, Some(600_000));
    assert_eq!(config.model_names().collect::<Vec<_>>(), ["", "base"]);
    let defaults = config.defaults;
    let found = ["width", "guidance", "min_side"].map(|key| defaults[key].as_f64());
    assert_eq!(found, [Some(1024.0), Some(0.0), Some(512.0)]);
}

#[test]
fn every_key_reaches_the_configuration() {
    let config = config(
        r#"
        engine = "fake"
        folders = { jobs = "/in", outputs = "../out", state = "s", wildcards = "/w", loras = "/l" }
        model.path = "/models/turbo"
        device = { kind = "cuda", index = 1, memory_limit = "1.5GiB", reserve = "1 GiB", idle_release = "10m" }
        oom.prefer = "speed"
        power.inhibit_sleep = false
        output.sidecar = "json"
        http = { listen = "[::1]:80", token = "always", hosts = ["Box.lan"], strict_model = true, sdapi_untouched = "as_sent", wait_max = "1m" }
        limits = { file_bytes_max = 4096, renders_max = 10, prompt_bytes_max = 100, side_max = 2048, steps_max = 50, input_bytes_max = "1MiB", input_pixels_max = 5000 }
        [defaults]
        width = 512
        height = 640
        steps = 20
        guidance = 4
        negative_prompt = "blurry"
        on_oom = "fail"
        min_side = 256
        min_steps = 3
        output = "{seed}"
        format = "jpeg"
        [models.base]
        path = "base"
        [worker]
        load_timeout = "1h 30m"
        step_timeout = "500ms"
        deaths_max = 2
        attempts_max = 5
        backoff = "10s"
        "#,
    );
    let expected = Config {
        file: None,
        jobs: "/in".into(),
        outputs: "/srv/z/../out".into(),
        state: "/srv/z/s".into(),
        wildcards: "/w".into(),
        loras: "/l".into(),
        engine: EngineKind::Fake,
        model: ModelChoice::Named(ModelPlace::at(Path::new("/models/turbo"))),
        models: [("base".to_owned(), ModelPlace::at(Path::new("/srv/z/base")))].into(),
        device: DeviceChoice::Cuda { index: 1 },
        memory_limit_bytes: Some(3 << 29),
        reserve_bytes: Some(1 << 30),
        idle_release_ms: Some(600_000),
        prefer: Prefer::Speed,
        defaults: ParameterValues::from_iter(
            [
                ("width", json!(512)),
                ("height", json!(640)),
                ("steps", json!(20)),
                ("guidance", json!(4.0)),
                ("negative_prompt", json!("blurry")),
                ("on_oom", json!("fail")),
                ("min_side", json!(256)),
                ("min_steps", json!(3)),
                ("output", json!("{seed}")),
                ("format", json!("jpeg")),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        ),
        power: PowerConfig { inhibit_sleep: false, ..PowerConfig::default() },
        sidecar: true,
        hooks: HookConfig::default(),
        http: HttpConfig {
            enabled: true,
            listen: Listen::Address("[::1]:80".parse().expect("an address")),
            token: TokenUse::Always,
            hosts: vec!["box.lan".to_owned()],
            strict_model: true,
            sdapi_untouched: Untouched::AsSent,
            wait_max_ms: 60_000,
        },
        limits: Limits {
            file_bytes_max: 4096,
            renders_max: 10,
            prompt_bytes_max: 100,
            side_max: 2048,
            steps_max: 50,
            input_bytes_max: 1 << 20,
            input_pixels_max: 5000,
        },
        worker: WorkerLimits {
            load_timeout_ms: 5_400_000,
            step_timeout_ms: 500,
            deaths_max: 2,
            attempts_max: 5,
            backoff_ms: 10_000,
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn each_mistake_is_told_with_its_place() {
    for (text, expected) in [
        ("engine = 'comfy'", "1:10: engine: unknown word \"comfy\" | use \"z-image\" or \"fake\""),
        ("[folder]", "1:2: folder: unknown key | did you mean `folders`?"),
        ("folders.jobs = ''", "1:16: folders.jobs: \"\" is no path"),
        ("folders.jobs = 'outputs'", "1:9: folders.jobs: jobs and outputs are the same folder"),
        (
            "device.kind = 'gpu'",
            "1:15: device.kind: unknown word \"gpu\" | use \"auto\" or \"cpu\" or \"cpu-bf16\" or \"cuda\"",
        ),
        (
            "device.index = 1",
            "1:8: device.index: only a CUDA card has an index | add kind = \"cuda\"",
        ),
        (
            "device.memory_limit = '6 gigs'",
            "1:23: device.memory_limit: \"6 gigs\" is no size | say \"6GiB\"",
        ),
        // newcomer 35
        (
            "device.memory_limit = '8G'",
            "1:23: device.memory_limit: \"8G\" is no size | say \"8GiB\"",
        ),
        (
            "device.reserve = '512 mb'",
            "1:18: device.reserve: \"512 mb\" is no size | say \"512MB\"",
        ),
        (
            "device.memory_limit = '8 apples'",
            "1:23: device.memory_limit: \"8 apples\" is no size, or out of range | use a size from",
        ),
        ("jobs = '/in'", "1:1: jobs: unknown key | put it under [folders]"),
        ("steps = 8", "1:1: steps: unknown key | put it under [defaults]"),
        ("defaults.cfg = 8", "1:10: defaults.cfg: unknown key | here it is called `guidance`"),
        // case F
        (
            "folders.outputs = '$HOME/pictures'",
            "1:19: folders.outputs: variables like $HOME have no meaning here | write the folder",
        ),
        ("model.path = '${M}'", "1:14: model.path: variables like $HOME have no meaning here"),
        ("folders.jobs = '~bob/x'", "1:16: folders.jobs: \"~bob/x\" names another user"),
        (
            "defaults = { output = 'a.png', format = 'webp' }",
            "1:14: defaults.output: ends in .png, but format is \"webp\"",
        ),
        (
            "device.memory_limit = '9999999.5B'",
            "1:23: device.memory_limit: \"9999999.5B\" is no size",
        ),
        ("device.memory_limit = 'nanGiB'", "1:23: device.memory_limit: \"nanGiB\" is no size"),
        ("device.memory_limit = 1000", "1:23: device.memory_limit: 1000 is out of range"),
        (
            "device.memory_limit = 1.5",
            "1:23: device.memory_limit: expected a size, found the number 1.5",
        ),
        (
            "device.idle_release = 'never'",
            "1:23: device.idle_release: \"never\" is no time, or out of range",
        ),
        ("oom.prefer = 1", "1:14: oom.prefer: expected a string, found the number 1"),
        ("defaults.width = 1", "1:18: defaults.width: 1 is out of range"),
        ("defaults.output = '/x'", "1:19: defaults.output: an empty name"),
        ("defaults.steps = 11\nlimits.steps_max = 10", "1:18: defaults.steps: 11 is out of range"),
        ("limits.side_max = 16384", "1:19: limits.side_max: 16384 is out of range"),
        ("limits.renders_max = 0", "1:22: limits.renders_max: 0 is out of range"),
        (
            "worker.backoff = '6m'",
            "1:18: worker.backoff: \"6m\" is no time, or out of range | use a time from 1ms to 5m",
        ),
        ("worker.backoff = '-1s'", "1:18: worker.backoff: \"-1s\" is no time, or out of range"),
        (
            "worker.backoff = 5",
            "1:18: worker.backoff: expected a string, found the number 5 | use a time from 1ms to 5m",
        ),
    ] {
        let problems = parsed(text).expect_err(text);
        let Problem { line, column, message, help, .. } = &problems[0];
        let found = format!("{line}:{column}: {message} | {}", help.as_deref().unwrap_or_default());
        assert!(
            problems.len() == 1 && found.starts_with(expected),
            "expected {expected}\nfound    {found}"
        );
    }
}

#[test]
fn mistakes_in_several_sections_are_told_at_once_in_the_order_of_the_file() {
    let problems =
        parsed("[worker]\ndeaths_max = 0\n[limits]\nsteps_max = -1\n[device]\nkind = 1\n")
            .expect_err("three");
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4, 6]);
}

#[test]
fn defaults_come_from_the_file_then_from_the_model_then_from_us() {
    let config = config("defaults = { height = 512, on_oom = 'fail' }");
    let rules = config.rules(&model(), TimeZone::UTC).expect("they fit");
    let expected = Render {
        recipe: Recipe::default(),
        width: 1024,
        height: 512,
        steps: 8,
        precision: AskedPrecision::Full,
        on_oom: OnOom::Fail,
        min_side: 384,
        min_steps: 4,
        output: "{job}-{name}-{index}-{seed}".to_owned(),
        format: Format::Png,
        asked_prompt: None,
        model: String::new(),
    };
    assert_eq!(rules.defaults, expected);
    assert_eq!((rules.granularity, rules.limits), (16, Limits::default()));
}

#[test]
fn defaults_that_the_model_or_the_limits_refuse_are_told() {
    for (text, expected) in [
        ("defaults.width = 1000", "width: 1000 is not a multiple of 16; use 992 or 1008"),
        ("limits.side_max = 512", "width: 1024 is out of range; use sides from 64 to 512"),
        ("limits.steps_max = 4", "steps: 8 is out of range; use at most 4"),
    ] {
        let error = config(text).rules(&model(), TimeZone::UTC).expect_err(text).to_string();
        assert_eq!(error, format!("the defaults do not fit the model Turbo: {expected}"));
    }
}

/// case F
#[test]
fn a_tilde_is_the_users_home() {
    let home = PathBuf::from(std::env::var_os("HOME").expect("tests have a home"));
    let config = config("folders = { jobs = '~/jobs', outputs = '~', state = 's~$/5$' }");
    assert_eq!((config.jobs, config.outputs), (home.join("jobs"), home));
    assert_eq!(config.state, Path::new("/srv/z/s~$/5$"));
}

/// case E
#[test]
fn no_side_is_longer_than_the_model_has_positions_for() {
    let side_max = |limit: &str| {
        let config = config(&format!("limits.side_max = {limit}"));
        config.rules(&model(), TimeZone::UTC).expect("they fit").limits.side_max
    };
    assert_eq!((side_max("4096"), side_max("16383")), (4096, 8192));
    let small = ModelDescription { side_max: 512, ..model() };
    let error = config("").rules(&small, TimeZone::UTC).expect_err("1024 is longer").to_string();
    assert!(error.contains("1024 is out of range; use sides from 64 to 512"), "{error}");
}

/// case E
#[test]
fn a_file_that_is_no_configuration_is_not_read_whole() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(1 << 40).expect("a file with a hole");
    let error = Config::load(Some(file.path())).expect_err("too large").to_string();
    assert!(error.ends_with("the file has more than 1048576 bytes"), "{error}");
}

#[test]
fn a_file_that_is_named_must_be_there_and_gives_relative_paths_their_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("my.toml");
    assert!(matches!(Config::load(Some(&path)), Err(ConfigError::Unreadable { .. })));
    fs::write(&path, "folders.jobs = 'in'").expect("written");
    assert_eq!(Config::load(Some(&path)).expect("read").jobs, folder.path().join("in"));
    fs::write(&path, "\u{feff}folders.job = 'in'").expect("written");
    let error = Config::load(Some(&path)).expect_err("a mistake").to_string();
    let expected = ":1:9: folders.job: unknown key\n    folders.job = 'in'\n            ^\n  help: did you mean `jobs`?\n";
    assert!(error.starts_with(&format!("{}{expected}", path.display())), "{error}");
}

// newcomer 4
#[test]
fn what_init_writes_is_all_defaults() {
    assert_eq!(parsed(init::STARTING_TEXT), parsed(""));
    let http = init::STARTING_TEXT.split_once("[http]\n").expect("what people look for").1;
    assert!(http.contains("\n# listen = \"127.0.0.1:7861\"\n"), "{http}");
}
