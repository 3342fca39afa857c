//! Each bad shape and value of a job file, dropped into the folder: set aside with its file, line
//! and column, the key, and what would be right. The numbers are those of the catalogue of faults.

use std::fs;

use crate::support::House;

/// A file as it is dropped, and where and what its report must say.
#[derive(Clone)]
struct Bad {
    name: &'static str,
    content: Vec<u8>,
    told: &'static [&'static str],
}

fn bad(name: &'static str, content: impl Into<Vec<u8>>, told: &'static [&'static str]) -> Bad {
    Bad { name, content: content.into(), told }
}

/// A prompt, and in the second line what is wrong.
fn line(name: &'static str, second: impl std::fmt::Display, told: &'static [&'static str]) -> Bad {
    bad(name, format!("prompt = 'a'\n{second}\n"), told)
}

// faults 40 to 43
fn shapes() -> Vec<Bad> {
    let keys: String = (0..20_000).map(|number| format!("k{number} = 1\n")).collect();
    vec![
        bad("empty", "", &[":1:1: prompt: missing"]),
        bad("half", "prompt = 'a", &[":1:12: not valid TOML"]),
        bad("elf", b"\x7fELF\x02\x01\x01\0\0\0", &[":1:", "not valid TOML"]),
        bad("png", b"\x89PNG\r\n\x1a\n", &[":1:1: not UTF-8 text: byte 0x89 at offset 0"]),
        bad("utf16", b"\xff\xfep\0r\0o\0", &[":1:1: not UTF-8 text: byte 0xff at offset 0"]),
        bad("latin1", b"steps = 4\nprompt = 'Stra\xdfe'\n", &[":2:15: not UTF-8", "offset 24"]),
        bad("nul", "prompt = 'a\0b'\n", &[":1:12: not valid TOML"]),
        bad(
            "large",
            vec![b'#'; (1 << 20) + 1],
            &["it has 1048577 bytes; at most 1048576 are read"],
        ),
        line("deep", format!("a = {}", "[".repeat(20_000)), &[":2:85: ", "recursion depth"]),
        line("dotted", format!("{}b = 1", "a.".repeat(10_000)), &["recursion limit"]),
        bad("keys", keys, &["prompt: missing", "k0: unknown key"]),
    ]
}

// faults 44 and 57
fn keys() -> Vec<Bad> {
    let seeds: Vec<String> = (0..400).map(|seed| seed.to_string()).collect();
    let steps: Vec<String> = (1..50).map(|steps| steps.to_string()).collect();
    let matrix = format!("[matrix]\nseed = [{}]\nsteps = [{}]", seeds.join(","), steps.join(","));
    vec![
        line("twice", "prompt = 'b'", &[":2:1: not valid TOML: duplicate key"]),
        line("unknown", "foo = 1", &[":2:1: foo: unknown key"]),
        line("misspelt", "stepz = 1", &[":2:1: stepz: unknown key", "steps"]),
        bad("case", "Prompt = 'a'\n", &["prompt: missing", "Prompt: unknown key"]),
        line("type", "steps = '20'", &[":2:9: steps: expected a whole number", "\"20\""]),
        line("many", matrix, &[":2:2: matrix: 49 steps x 400 seed make 19600 pictures"]),
        bad("all", "stepz = 1\nwidth = 7\nseed = -1\n", &["prompt", "stepz", ":2:9:", ":3:8:"]),
    ]
}

// faults 54 to 56 and 58
fn numbers_and_prompts() -> Vec<Bad> {
    let range = &[":2:9: steps: ", "is out of range", "1 to"];
    let side = &[":2:9: width: ", "is out of range"];
    let guidance = &[":2:12: guidance: ", "is out of range", "0 to"];
    let long = format!("prompt = '{}'\n", "x".repeat(70_000));
    vec![
        line("steps-0", "steps = 0", range),
        line("steps-negative", "steps = -1", range),
        line("steps-many", "steps = 1000000000", range),
        line("steps-wide", "steps = 9223372036854775808", range),
        line("steps-half", "steps = 1.5", &[":2:9: steps: expected a whole number"]),
        line("steps-nan", "steps = nan", &[":2:9: steps: expected a whole number"]),
        line("guidance-nan", "guidance = nan", guidance),
        line("guidance-inf", "guidance = inf", guidance),
        line("guidance-large", "guidance = 1e308", guidance),
        line("width-0", "width = 0", side),
        line("width-7", "width = 7", side),
        line("width-odd", "width = 8191", side),
        line("width-wide", "width = 100000", side),
        line("width-negative", "width = -16", side),
        line("seed-negative", "seed = -1", &[":2:8: seed: -1 is out of range"]),
        line("seed-wide", "seed = 18446744073709551616", &[":2:8: seed: ", "is out of range"]),
        bad("prompt-empty", "prompt = ''\n", &[":1:10: prompt: is empty"]),
        bad("prompt-long", long, &[":1:10: prompt: is 70000 bytes long", "16384"]),
        bad("prompt-nul", "prompt = \"a\\u0000b\"\n", &[":1:10: prompt: ", "U+0000"]),
    ]
}

// faults 59 to 63
fn names_and_times() -> Vec<Bad> {
    let times = "not_before = 2999-01-01T00:00:00Z\nnot_after = 2998-01-01T00:00:00Z";
    vec![
        line("out-up", "output = '../x'", &[":2:10: output: "]),
        line("out-root", "output = '/abs'", &[":2:10: output: "]),
        line("out-empty", "output = ''", &[":2:10: output: "]),
        line("out-long", format!("output = '{}'", "x".repeat(300)), &[":2:10: output: ", "240"]),
        line("lora-up", "[[lora]]\npath = '../../etc/passwd'", &["lora", "is no name of a LoRA"]),
        line("lora-none", "[[lora]]\npath = 'none'", &["lora", "none"]),
        line("lora-nan", "[[lora]]\npath = 'a'\nweight = nan", &["weight: nan is out of range"]),
        line("init-none", "init_image = 'none.png'", &[":2:14: init_image: ", "no such file"]),
        line("init-url", "init_image = 'http://a/b.png'", &[":2:14: init_image: "]),
        line("init-device", "init_image = '/dev/zero'", &["it is a device or a pipe, not a file"]),
        line("model", "model = 'sdxl'", &[":2:9: model: daemon.toml names no model \"sdxl\""]),
        line("sampler", "sampler = 'ddim'", &[":2:11: sampler: unknown word \"ddim\"", "euler"]),
        line("format", "format = 'svg'", &[":2:10: format: unknown word \"svg\"", "png"]),
        line("soon", "not_before = 'soon'", &[":2:14: not_before: soon is no time"]),
        line("window", "window = '25:00-07:00'", &[":2:10: window: ", "is no window"]),
        line("backwards", times, &[":3:1: not_after: is no later than not_before"]),
    ]
}

#[test]
fn every_bad_job_is_set_aside_with_where_what_and_how() {
    let house = House::started("");
    let all = [shapes(), keys(), numbers_and_prompts(), names_and_times()].concat();
    for Bad { name, content, .. } in &all {
        let part = house.path("jobs").join(format!("{name}.part"));
        fs::write(&part, content).expect("a writable folder");
        fs::rename(&part, house.path("jobs").join(format!("{name}.toml"))).expect("one filesystem");
    }
    for Bad { name, content, told } in &all {
        let file = format!("{name}.toml");
        let report = house.until_refused(&file);
        for words in [&["toml:"], *told].concat() {
            assert!(report.contains(words), "{name}, {words:?}: {report}");
        }
        let kept = fs::read(house.path("jobs/rejected").join(&file)).expect("it was moved");
        assert_eq!(&kept, content, "{name} is kept as it was");
        assert!(!house.path("jobs").join(&file).exists(), "{name} is in one place");
        let is_raw = |c: char| c.is_control() && c != '\n';
        assert!(!report.contains(is_raw), "{name}: {report:?}");
    }
    assert_eq!(house.value("SELECT count(*) FROM jobs"), "0");
    house.until_sql("SELECT count(*) FROM rejections", &all.len().to_string());
    house.drop_job("good.toml", "\u{feff}prompt = 'a'\r\nguidance = -0.0\r\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
}
