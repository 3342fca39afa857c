//! What a job file may say.

mod hostile;
mod mistakes;

use jiff::tz::TimeZone;

use super::*;
use crate::job::lora::{Lora, LoraSize, Loras};
use crate::job::{AskedPrecision, Format, OnOom, Recipe, SamplerKind};
use crate::problem::Report;

/// 2026-11-24 12:00:00 UTC, one in the afternoon where the rules are.
const NOW_MS: i64 = 1_795_521_600_000;

fn loras(named: &[(&str, f64)]) -> Loras {
    let lora = |(name, weight): &(&str, f64)| Lora {
        name: (*name).to_owned(),
        weight: *weight,
        allow_unknown: false,
        sha256: String::new(),
        size: LoraSize::default(),
    };
    Loras(named.iter().map(lora).collect())
}

fn rules() -> Rules {
    Rules {
        defaults: Render { output: "{job}-{index}".to_owned(), ..Render::default() },
        limits: Limits::default(),
        granularity: 16,
        time_zone: TimeZone::fixed(jiff::tz::offset(1)),
        wildcards: Default::default(),
        models: Default::default(),
    }
}

/// Seeds drawn are 1000, 1001, ...
fn parsed(text: &str) -> Result<Job, Vec<Problem>> {
    let mut drawn = 999;
    parse_bytes(text.as_bytes(), &rules(), NOW_MS, &mut || {
        drawn += 1;
        drawn
    })
}

fn report(text: &str) -> String {
    let problems = parsed(text).expect_err("a mistake was put in");
    Report { name: "x.toml", content: text.as_bytes(), problems: &problems }.to_string()
}

fn job(text: &str) -> Job {
    parsed(text).unwrap_or_else(|_| panic!("refused:\n{}", report(text)))
}

#[test]
fn a_prompt_alone_is_a_job_with_the_defaults() {
    let job = job("prompt = \"a red fox\"");
    assert_eq!(
        (job.priority, job.not_before_ms, job.tags.len(), job.renders.len()),
        (0, None, 0, 1)
    );
    let expected = Render {
        recipe: Recipe {
            prompt: "a red fox".to_owned(),
            negative_prompt: String::new(),
            guidance: 0.0,
            guidance_normalization: 0.0,
            guidance_truncation: 1.0,
            sampler: SamplerKind::Euler,
            init_image: String::new(),
            mask: String::new(),
            strength: 1.0,
            lora: Loras::default(),
            seed: 1000,
        },
        width: 1024,
        height: 1024,
        steps: 8,
        precision: AskedPrecision::Full,
        on_oom: OnOom::Downgrade,
        min_side: 512,
        min_steps: 4,
        output: "{job}-{index}".to_owned(),
        format: Format::Png,
        asked_prompt: None,
        model: String::new(),
    };
    assert_eq!(job.renders[0], expected);
}

#[test]
fn every_key_reaches_the_job() {
    let job = job(r#"
        prompt = "a <lora:anna:-0.5>"
        negative_prompt = "b"
        width = 512
        height = 768
        steps = 20
        guidance = 4
        guidance_normalization = 1
        guidance_truncation = 0.6
        sampler = "res_multistep"
        precision = "int8"
        lora = ["style:0.8"]
        seed = 7
        priority = -5
        not_before = 2026-11-24T22:00:00+01:00
        on_oom = "offload"
        min_side = 300
        min_steps = 6
        output = "fox/{seed}"
        format = "webp"
        tags = ["night", "füchse", "v1.2"]
    "#);
    assert_eq!((job.priority, job.not_before_ms), (-5, Some(1_795_554_000_000)));
    assert_eq!(job.tags, ["night", "füchse", "v1.2"]);
    let expected = Render {
        recipe: Recipe {
            prompt: "a".to_owned(),
            negative_prompt: "b".to_owned(),
            guidance: 4.0,
            guidance_normalization: 1.0,
            guidance_truncation: 0.6,
            sampler: SamplerKind::ResMultistep,
            init_image: String::new(),
            mask: String::new(),
            strength: 1.0,
            lora: loras(&[("style", 0.8), ("anna", -0.5)]),
            seed: 7,
        },
        width: 512,
        height: 768,
        steps: 20,
        precision: AskedPrecision::Int8,
        on_oom: OnOom::Offload,
        min_side: 300,
        min_steps: 6,
        output: "fox/{seed}".to_owned(),
        format: Format::Webp,
        asked_prompt: None,
        model: String::new(),
    };
    assert_eq!(job.renders, [expected]);
}

#[test]
fn the_matrix_is_a_product_with_the_prompt_outermost_and_the_seed_innermost() {
    let job = job(
        "[matrix]\nprompt = ['a', 'b']\nsteps = [4, 8]\nseed = [1, 2]\nwidth = [64, 128]\nheight = [64]",
    );
    let order: Vec<_> = job
        .renders
        .iter()
        .map(|render| {
            (render.recipe.prompt.as_str(), render.width, render.steps, render.recipe.seed)
        })
        .collect();
    let mut expected = Vec::new();
    for prompt in ["a", "b"] {
        for width in [64, 128] {
            for steps in [4, 8] {
                expected.extend([1, 2].map(|seed| (prompt, width, steps, seed)));
            }
        }
    }
    assert_eq!(order, expected);
}

#[test]
fn listed_sizes_go_together_and_crossed_sides_do_not() {
    let sizes = |text: &str| -> Vec<_> {
        job(text).renders.iter().map(|render| (render.width, render.height)).collect()
    };
    assert_eq!(sizes("prompt='a'\n[matrix]\nsize=['1024x512', '64x96']"), [(1024, 512), (64, 96)]);
    assert_eq!(
        sizes("prompt='a'\n[matrix]\nwidth=[1024, 64]\nheight=[512, 96]"),
        [(1024, 512), (1024, 96), (64, 512), (64, 96)]
    );
}

#[test]
fn seeds_count_up_over_the_images_and_wrap_into_the_range() {
    let seeds = |text: &str| -> Vec<_> {
        job(text).renders.iter().map(|render| render.recipe.seed).collect()
    };
    assert_eq!(seeds("prompt='a'\nseed=5\nnum_images=3"), [5, 6, 7]);
    assert_eq!(seeds("prompt='a'\nseed=9223372036854775807\nnum_images=2"), [i64::MAX as u64, 0]);
}

/// newcomer 35
#[test]
fn a_size_at_the_top_is_a_width_and_a_height_and_jpg_is_jpeg() {
    let render = &job("prompt='a'\nsize = '512x768'\nformat = 'jpg'").renders[0];
    assert_eq!((render.width, render.height, render.format), (512, 768, Format::Jpeg));
}

/// case F
#[test]
fn an_extension_at_the_end_of_a_name_is_the_format() {
    let named = |text: &str| {
        let render = job(&format!("prompt='a'\n{text}")).renders.remove(0);
        (render.output, render.format)
    };
    assert_eq!(named("output = 'fox.jpg'"), ("fox".to_owned(), Format::Jpeg));
    assert_eq!(named("output = '{seed}.WebP'"), ("{seed}".to_owned(), Format::Webp));
    assert_eq!(named("output = 'a.jpeg'\nformat = 'jpeg'"), ("a".to_owned(), Format::Jpeg));
    assert_eq!(named("output = 'v1.2'"), ("v1.2".to_owned(), Format::Png));
}

#[test]
fn an_open_seed_is_drawn_for_each_combination() {
    let seeds = |text: &str| -> Vec<_> {
        job(text).renders.iter().map(|render| render.recipe.seed).collect()
    };
    assert_eq!(seeds("prompt=['a','b']\nnum_images=2"), [1000, 1001, 1001, 1002]);
    assert_eq!(seeds("prompt='a'\n[matrix]\nseed=['random', 3, 'random']"), [1000, 3, 1001]);
    let job =
        parse_bytes("prompt='a'\nnum_images=2".as_bytes(), &rules(), NOW_MS, &mut || u64::MAX)
            .expect("a job");
    assert_eq!(
        job.renders.iter().map(|render| render.recipe.seed).collect::<Vec<_>>(),
        [i64::MAX as u64, 0]
    );
}

#[test]
fn floors_are_never_above_what_is_asked() {
    let render = &job("prompt='a'\nwidth=256\nheight=320\nsteps=2").renders[0];
    assert_eq!((render.min_side, render.min_steps), (256, 2));
}

#[test]
fn times_without_an_offset_are_local_and_strings_are_as_good() {
    let time = |written: &str| job(&format!("prompt='a'\nnot_before={written}")).not_before_ms;
    let ten_in_the_evening = Some(1_795_554_000_000);
    for same in [
        "2026-11-24T21:00:00Z",
        "2026-11-24 22:00:00",
        "2026-11-24T22:00",
        "'2026-11-24T22:00:00+01:00'",
        "'2026-11-24T22:00:00'",
        "2026-11-24T15:15:00-05:45",
    ] {
        assert_eq!(time(same), ten_in_the_evening, "{same}");
    }
    // A leap second is a moment, though no clock of ours counts it.
    assert_eq!(time("'2016-12-31T23:59:60Z'"), time("2016-12-31T23:59:59Z"));
    assert!(time("9999-12-30T00:00:00Z").is_some());
    assert!(time("1970-01-01T00:00:00Z").is_some_and(|ms| ms == 0));
}

#[test]
fn a_time_of_day_is_the_next_one() {
    let time = |written: &str| job(&format!("prompt='a'\nnot_before={written}")).not_before_ms;
    let at =
        |moment: &str| Some(moment.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
    for same in ["'22:00'", "'22:00:00'", "22:00:00"] {
        assert_eq!(time(same), at("2026-11-24T21:00:00Z"), "{same}");
    }
    assert_eq!(time("'12:59:59'"), at("2026-11-25T11:59:59Z"), "passed: tomorrow");
    assert_eq!(time("'13:00'"), at("2026-11-25T12:00:00Z"), "now has passed too");
    assert_eq!(time("'00:00'"), at("2026-11-24T23:00:00Z"));
    assert_eq!(time("'7:05'"), time("'07:05'"));
}

#[test]
fn local_times_that_a_change_of_the_clocks_skips_or_repeats_have_one_meaning() {
    let vienna = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
    let rules = Rules { time_zone: vienna, ..rules() };
    let time = |written: &str| {
        let text = format!("prompt='a'\nnot_before={written}");
        parse_bytes(text.as_bytes(), &rules, NOW_MS, &mut || 0).expect("a job").not_before_ms
    };
    assert_eq!(time("2026-03-29T02:30:00"), time("2026-03-29T03:30:00+02:00"));
    assert_eq!(time("2026-10-25T02:30:00"), time("2026-10-25T02:30:00+02:00"));
}

#[test]
fn a_job_that_names_a_model_asks_for_what_that_one_wants() {
    let base = Render { steps: 28, width: 512, ..Render::default() };
    let usable = ModelRules::Usable { defaults: Box::new(base), side_max: 2048, granularity: 32 };
    let broken = ModelRules::Unusable("vae/ is missing".to_owned());
    let models = [("base".to_owned(), usable), ("torn".to_owned(), broken)].into();
    let rules = Rules { models, ..rules() };
    let parsed = |text: &str| {
        let text = format!("prompt='a'\n{text}");
        parse_bytes(text.as_bytes(), &rules, NOW_MS, &mut || 0)
    };
    let render = parsed("model='base'\nheight=544").expect("a job").renders.remove(0);
    assert_eq!((render.model.as_str(), render.steps, render.width), ("base", 28, 512));
    assert_eq!(parsed("").expect("a job").renders[0].model, "");
    let refused = |text: &str| {
        let problems = parsed(text).expect_err("a mistake");
        assert_eq!(problems.len(), 1, "{problems:?}");
        format!("{}; {}", problems[0].message, problems[0].help.clone().unwrap_or_default())
    };
    assert_eq!(
        refused("model='base'\nheight=528"),
        "height: 528 is not a multiple of 32; use 512 or 544"
    );
    let unknown = refused("model='bass'");
    assert!(
        unknown.starts_with("model: daemon.toml names no model \"bass\"; use base, torn"),
        "{unknown}"
    );
    assert!(refused("model='torn'").contains("torn cannot be used: vae/ is missing"));
    assert!(refused("model=''").contains("is no name of a model"));
}

#[test]
fn minus_zero_is_zero_and_whole_numbers_are_guidance_too() {
    let guidance =
        |written: &str| job(&format!("prompt='a'\nguidance={written}")).renders[0].recipe.guidance;
    assert!(guidance("-0.0").is_sign_positive());
    assert_eq!(guidance("4"), guidance("4.0"));
}

#[test]
fn prompts_are_kept_as_written_but_for_the_line_ends_of_the_file() {
    let prompt = |text: &str| job(text).renders[0].recipe.prompt.clone();
    assert_eq!(
        prompt("prompt = \"\"\"\r\na fox\r\n\tin snow 👩‍🚀\r\n\"\"\"\r\n"),
        "a fox\n\tin snow 👩‍🚀\n"
    );
}

#[test]
fn each_example_is_a_good_job_to_both_models() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("examples") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        // Z-Image-Turbo's grid, and the miniature's.
        let [job, _] = [16, 32].map(|granularity| {
            let rules = Rules { granularity, ..rules() };
            parse_bytes(text.as_bytes(), &rules, NOW_MS, &mut || 0)
                .unwrap_or_else(|problems| panic!("{}: {problems:?}", path.display()))
        });
        names.push((
            path.file_name().expect("a name").to_string_lossy().into_owned(),
            job.renders.len(),
        ));
    }
    names.sort();
    let expected = [
        ("chinese.toml", 4),
        ("hello.toml", 1),
        ("night.toml", 500),
        ("poster.toml", 3),
        ("sheet.toml", 25),
    ];
    assert_eq!(names, expected.map(|(name, renders)| (name.to_owned(), renders)));
}

#[test]
fn an_end_is_the_first_one_after_the_begin_and_a_window_is_kept() {
    let job = job("prompt='a'\nnot_before='22:00'\nnot_after='14:00'\nwindow='23:00-07:00'");
    let at = |moment: &str| moment.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    assert_eq!(job.not_before_ms, Some(at("2026-11-24T21:00:00Z")));
    // Two in the afternoon comes in an hour, but only tomorrow's comes after the begin.
    assert_eq!(job.not_after_ms, Some(at("2026-11-25T13:00:00Z")));
    assert_eq!(job.window.map(|window| window.to_string()).as_deref(), Some("23:00-07:00"));
}

#[test]
fn an_hour_may_have_one_digit() {
    let begin = |text: &str| job(&format!("prompt='a'\nnot_before='{text}'")).not_before_ms;
    assert_eq!(begin("7:05"), begin("07:05"));
}
