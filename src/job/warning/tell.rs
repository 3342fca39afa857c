//! Warnings in a sentence each, for people.

use std::fmt;

use super::Warning;
use crate::spelling::count;

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::WithoutGuidance { key, pictures } => write!(
                f,
                "{key} does nothing in {}: it counts only with guidance above 0",
                count(*pictures as u64, "picture")
            ),
            Warning::UnwantedGuidance { guidance, pictures, model, model_steps } => write!(
                f,
                "guidance {guidance} in {}: {model} is trained to do without, and wants guidance 0 \
                 and {model_steps} steps; more takes twice the time, and may burn the colours",
                count(*pictures as u64, "picture")
            ),
            Warning::ManySteps { steps, pictures, model, model_steps } => write!(
                f,
                "{steps} steps in {}: {model} is trained for {model_steps}; more take longer, and \
                 gain little",
                count(*pictures as u64, "picture")
            ),
            Warning::LongSeed { seed } => write!(
                f,
                "only the lower 32 bits of a seed count, as in torch: {seed} repeats the picture \
                 of {}",
                *seed as u32
            ),
            Warning::EqualPictures { pictures, first, second } => {
                let are = if *pictures == 1 { "is" } else { "are" };
                write!(
                    f,
                    "{} {are} made twice: picture {second} has the prompt, seed, size and steps of \
                     picture {first}",
                    count(*pictures as u64, "picture")
                )
            }
            Warning::EqualNames { pictures, output } => tell_equal_names(*pictures, output, f),
            Warning::ForeignSyntax { syntax, example, prompts } => {
                write!(f, "{example} {} ({})", syntax.meaning(), count(*prompts as u64, "prompt"))
            }
            Warning::CutPrompt { beginning, tokens_max } => write!(
                f,
                "a prompt is longer than the {tokens_max} tokens that the model reads, its end is \
                 not seen: {beginning}"
            ),
            Warning::LongWait { is_tomorrow } => far_away("begin", *is_tomorrow, f),
            Warning::PassedBegin => {
                write!(f, "not_before has passed: it keeps nothing from being started")
            }
            Warning::LateEnd { is_tomorrow } => far_away("end", *is_tomorrow, f),
            Warning::OtherClock { there_now } => tell_clock(there_now, f),
            Warning::MaySleep { why } => tell_sleep(why, f),
            Warning::UnreadConfiguration { reload_pid, needs_restart } => {
                tell_unread(*reload_pid, needs_restart, f)
            }
            Warning::Memory { lack, pictures } => lack.tell(*pictures, f),
        }
    }
}

fn tell_equal_names(pictures: usize, output: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let get = if pictures == 1 { "gets" } else { "get" };
    write!(
        f,
        "output = \"{output}\" names several pictures alike: {pictures} of them {get} a number \
         behind it; {{index}} or {{seed}} in it would tell them apart"
    )
}

fn tell_clock(there_now: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "times of day and windows are by the daemon's clock, which shows {there_now} now")
}

fn tell_sleep(why: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the machine may go to sleep before it is done: {why}")
}

fn tell_unread(
    reload_pid: Option<u32>,
    needs_restart: &[String],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match reload_pid {
        Some(pid) => write!(
            f,
            "what is said here goes by daemon.toml as it is now, and the daemon has not read that: \
             kill -USR1 {pid}"
        ),
        None => write!(
            f,
            "what is said here goes by daemon.toml as it is now, and the daemon needs a restart for \
             that: {}",
            needs_restart.join(", ")
        ),
    }
}

/// Says that the `end` of the time to start in, its first or its last, is half a day away.
fn far_away(end: &str, is_tomorrow: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let why = if is_tomorrow { ": a time of day that has passed is tomorrow's" } else { "" };
    write!(f, "its {end} is more than 12 hours away{why}")
}
