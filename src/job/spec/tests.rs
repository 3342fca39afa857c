//! What a job file may say, and what is answered to mistakes.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::*;
use crate::problem::Report;

fn rules() -> Rules {
    Rules {
        defaults: Defaults {
            width: 1024,
            height: 1024,
            steps: 8,
            guidance: 0.0,
            negative_prompt: String::new(),
            on_oom: OnOom::Downgrade,
            min_side: 512,
            min_steps: 4,
            output: "{job}-{index}".to_owned(),
            format: Format::Png,
        },
        limits: Limits::default(),
        granularity: 16,
        time_zone: TimeZone::fixed(jiff::tz::offset(1)),
    }
}

/// Seeds drawn are 1000, 1001, ...
fn parsed(text: &str) -> Result<Job, Vec<Problem>> {
    let mut drawn = 999;
    parse(text, &rules(), &mut || {
        drawn += 1;
        drawn
    })
}

fn report(text: &str) -> String {
    let problems = parsed(text).expect_err("a mistake was put in");
    Report { name: "x.toml", content: text.as_bytes(), problems: &problems }.to_string()
}

#[test]
fn play() {
    for text in [
        "prompt = 5\nstep = 8\nwidth = 1000\nguidance = nan\nformat = 'PNG'\n",
        "",
        "prompt = \"狐狸\" x",
        "prompt = 'a'\nseed = [1,2]\nnot_before = 2026-01-01\ntags=['a b']\noutput='../x'\n[matrix]\nwidth=[1,7,8191,100000,1000, '5']\nwidht=[]\nseed=[1]",
        "[[[[",
        "a = 1\na = 2",
        "prompt = \"a",
        "prompt = ['狐狸', 5]\nsteps = 18446744073709551616\nseed=-1\nwidth=1e5\n",
        "prompt='a'\nnum_images=10001\n",
        "prompt=['a','b']\nnum_images=10000\n",
        "prompt='a'\nnot_before=07:32\nmatrix=5",
        "prompt='a'\nsteps=true\n[matrix]\nsize=['10x10','1024x1000','axb',5]\nwidth=[]\n",
    ] {
        println!("{text}\n----");
        println!("{}======", report(text));
    }
    println!(
        "{:#?}",
        parsed("prompt='a'\nnum_images=2\n[matrix]\nsize=['1024x512','64x64']\nseed=[9223372036854775807,'random']")
            .unwrap()
    );
    println!("{:?}", parsed("prompt='a'\nnot_before=2026-11-24T22:00\n").unwrap().not_before_ms);
    println!("{:?}", parsed("prompt='a'\nnot_before=2026-11-24 22:00:00Z\n").unwrap().not_before_ms);
    println!("{:?}", parsed("prompt='a'\nnot_before='2026-11-24 22:00:60+01:00'\n").unwrap().not_before_ms);
}
