use jiff::tz::TimeZone;

use super::*;
use crate::job::OnOom;
use crate::job::spec::{Limits, Rules, resolve_bytes, times_of_day};

const TURBO: ModelWants<'static> = ModelWants { name: "Turbo", guidance: 0.0, steps: 8 };

fn rules() -> Rules {
    Rules {
        defaults: Render::default(),
        limits: Limits::default(),
        granularity: 16,
        time_zone: TimeZone::UTC,
        wildcards: Default::default(),
        models: Default::default(),
    }
}

/// As `kind: sentence`, of a job whose prompt is "a".
fn warned_by(text: &str, wants: ModelWants) -> Vec<String> {
    let text =
        if text.starts_with("prompt =") { text.to_owned() } else { format!("prompt='a'\n{text}") };
    let job = resolve_bytes(text.as_bytes(), &rules(), 0, &mut || 7).expect("a good job");
    let found = warnings(&job, &rules().defaults.recipe, wants);
    found.iter().map(|warning| format!("{}: {warning}", warning.kind())).collect()
}

#[track_caller]
fn assert_warned(text: &str, expected: &[&str]) {
    assert_eq!(warned_by(text, TURBO), expected, "{text}");
}

/// newcomer 25
#[test]
fn guidance_and_many_steps_are_told_of_a_model_that_wants_neither() {
    let guided = "unwanted_guidance: guidance 6.5 in 1 picture: Turbo is trained to do without, \
         and wants guidance 0 and 8 steps; more takes twice the time, and may burn the colours";
    let many = "many_steps: 17 steps in 1 picture: Turbo is trained for 8; more take longer, and \
         gain little";
    assert_warned("guidance = 6.5\nsteps = 17", &[guided, many]);
    assert_warned("steps = 16", &[]);
    let base = ModelWants { guidance: 4.0, ..TURBO };
    assert_eq!(warned_by("guidance = 6.5\nsteps = 50", base), [""; 0]);
}

/// newcomer 25
#[test]
fn keys_that_count_only_with_guidance_are_told_without() {
    let without = |key: &str| {
        format!(
            "without_guidance: {key} does nothing in 2 pictures: it counts only with guidance above 0"
        )
    };
    for (line, key) in [
        ("negative_prompt = 'x'", "negative_prompt"),
        ("guidance_normalization = 1", "guidance_normalization"),
        ("guidance_truncation = 0.5", "guidance_truncation"),
    ] {
        assert_warned(&format!("num_images = 2\n{line}"), &[&without(key)]);
    }
    assert_warned("guidance_normalization = 0\nguidance_truncation = 1", &[]);
}

/// newcomer 25
#[test]
fn pictures_that_are_made_twice_are_told_and_drawn_seeds_are_no_such_pictures() {
    let twice = |pictures: &str, second: u32, first: u32| {
        format!(
            "equal_pictures: {pictures} made twice: picture {second} has the prompt, seed, size \
             and steps of picture {first}"
        )
    };
    assert_warned("num_images=2\n[matrix]\nseed=[1, 2]", &[&twice("1 picture is", 3, 2)]);
    assert_warned("prompt = ['a', 'b', 'a', 'b']\nseed = 1", &[&twice("2 pictures are", 3, 1)]);
    assert_warned("[matrix]\nseed=['random', 'random', 7]", &[]);
    let long = "long_seed: only the lower 32 bits of a seed count, as in torch: 4294967297 repeats \
         the picture of 1";
    assert_warned("[matrix]\nseed=[1, 4294967297]", &[long, &twice("1 picture is", 2, 1)]);
}

/// newcomer 25
#[test]
fn a_name_for_several_pictures_is_told() {
    let equal = |output: &str, some: &str| {
        format!(
            "equal_names: output = \"{output}\" names several pictures alike: {some} a \
             number behind it; {{index}} or {{seed}} in it would tell them apart"
        )
    };
    assert_warned("num_images = 3\noutput = 'fox'", &[&equal("fox", "2 of them get")]);
    assert_warned(
        "num_images = 3\noutput = '{date}/{prompt}'",
        &[&equal("{date}/{prompt}", "2 of them get")],
    );
    for output in ["{index}", "{seed}", "{time}"] {
        assert_warned(&format!("num_images = 3\noutput = '{output}'"), &[]);
    }
    assert_warned(
        "seed = 1\noutput = '{seed}'\n[matrix]\nsteps = [1, 2]",
        &[&equal("{seed}", "1 of them gets")],
    );
    assert_warned("output = 'fox'", &[]);
}

/// newcomer 25, case F
#[test]
fn syntax_of_other_programs_is_told_once_a_kind_with_an_example() {
    assert_warned(
        "prompt = ['a <lyco:x:0.8>', 'b <lyco:y:1>', 'a (red:1.4) fox']\nseed = 1",
        &[
            "foreign_syntax: <lyco:x:0.8> loads nothing here: <lora:style:0.8> in the prompt, or \
             [[lora]], names a LoRA (2 prompts)",
            "foreign_syntax: (red:1.4) weighs nothing here: this model brings every word \
             to the same length before it is read, so that no weight is left; say in words what \
             matters more (1 prompt)",
        ],
    );
}

/// newcomer 2
#[test]
fn a_job_that_waits_or_lasts_for_more_than_half_a_day_is_told_why() {
    let warned_at = |now: &str, text: &str| {
        let now = now.parse::<jiff::Timestamp>().expect("a moment");
        let now = now.to_zoned_datetime(TimeZone::UTC);
        let now_ms = now.timestamp().as_millisecond();
        let text = format!("prompt = 'a'\n{text}");
        let job = resolve_bytes(text.as_bytes(), &rules(), now_ms, &mut || 7).expect("a good job");
        let warnings = of_times(&job.job.times(), &times_of_day(&text), &now);
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let warned = |text: &str| warned_at("2026-11-27T22:50:00Z", text);
    let begin = "its begin is more than 12 hours away";
    let end = "its end is more than 12 hours away";
    let passed = ": a time of day that has passed is tomorrow's";
    assert_eq!(warned("not_before = '22:00'"), format!("{begin}{passed}"));
    assert_eq!(warned("not_before = 2026-12-01T00:00:00Z"), begin);
    assert_eq!(warned("window = '12:00-14:00'"), begin);
    // newcomer 2's brother: at ten to eleven, whoever says 22:00 means an hour ago.
    assert_eq!(warned("not_after = '22:00'"), format!("{end}{passed}"));
    assert_eq!(warned("not_after = 2026-12-01T00:00:00Z"), end);
    let night = "not_before = '10:00'\nnot_after = '09:00'";
    assert_eq!(warned(night), format!("{end}{passed}"));
    let has_begun = "not_before has passed: it keeps nothing from being started";
    assert_eq!(warned("not_before = 2025-11-27T23:00:00Z"), has_begun, "a year too early");
    for soon in ["", "not_before = '10:45'", "window = '22:00-07:00'", "not_after = '07:00'"] {
        assert_eq!(warned(soon), "", "{soon}");
    }
    // What is far away and still today, and what has a date, was not meant as another day's.
    let at_night = |text| warned_at("2026-11-27T04:00:00Z", text);
    assert_eq!(at_night("not_before = '22:00'"), begin);
    assert_eq!(at_night("not_after = 22:00:00"), end);
    assert_eq!(warned("not_before = 2026-11-28T22:00:00Z"), begin);
}

// evening F1
#[test]
fn what_does_not_fit_is_told_with_what_would_be_made_and_whether_another_way_keeps_the_size() {
    let told = |made, fits: bool, offload_keeps| {
        let lack = Lack {
            asked: (1024, 768, 8),
            made,
            usable_bytes: 50 << 20,
            needed_bytes: fits.then_some(70 << 20),
            fits,
            on_oom: OnOom::Downgrade,
            offload_keeps,
        };
        Warning::Memory { lack, pictures: 3 }.to_string()
    };
    let short = "1024x768 does not fit into the 50 MiB that may be used";
    let why = format!("{short} and would need 70 MiB: 3 pictures would be");
    assert_eq!(
        told((512, 384, 8), true, true),
        format!("{why} made as 512x384; on_oom = \"offload\" keeps the size, and takes longer")
    );
    assert_eq!(
        told((512, 384, 8), false, false),
        format!(
            "{short}: 3 pictures would be tried as 512x384, and may fail; {}",
            OnOom::Downgrade.cure()
        )
    );
    assert!(told((512, 384, 6), true, true).contains("768 in 8 steps does not fit"));
    assert!(told((512, 384, 6), true, true).contains("made as 512x384 in 6 steps"));
}

#[test]
fn a_warning_is_an_object_in_json() {
    let json = serde_json::to_value(Warning::LongSeed { seed: 1 << 32 }).expect("no maps");
    assert_eq!(json["kind"], "long_seed");
    assert!(json["message"].as_str().is_some_and(|text| text.starts_with("only the lower 32")));
}
