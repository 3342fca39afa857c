//! `zimaged verify`: the pictures against what the history says of them.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{EXIT_DATA, Outcome, print, stderr, whole};
use crate::config::Config;
use crate::problem::printable;
use crate::queue::Queue;
use crate::queue::verify::{
    Again, AgainFate, PictureFault, StrangerKind, Verified, VerifyStep, WrongPicture,
};

/// Where no bar can be drawn, so often is said how far it is.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// So many files of a kind are told.
const TOLD_MAX: usize = 20;

#[derive(clap::Args, Debug)]
pub(super) struct VerifyPicturesArgs {
    /// Render so many pictures again, drawn by chance, and compare them pixel for pixel
    #[arg(long, value_name = "N", default_value = "0", value_parser = whole::<u32>)]
    replay: u32,
}

pub(super) async fn verify(config: &Config, args: &VerifyPicturesArgs, json: bool) -> Outcome {
    let queue = Queue::open(config).await?;
    let mut bar = Bar::new();
    let verified = queue.verify(args.replay, &mut |step| bar.show(step)).await;
    bar.bar.finish_and_clear();
    let verified = verified?;
    print::answer(&verified, &told(&verified), json)?;
    Ok(if verified.is_right() { 0 } else { EXIT_DATA })
}

struct Bar {
    bar: ProgressBar,
    told_at: Instant,
}

impl Bar {
    fn new() -> Bar {
        let is_live = stderr::is_live() && !stderr::is_quiet();
        let bar = if is_live { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        Bar { bar, told_at: Instant::now() }
    }

    fn show(&mut self, step: VerifyStep) {
        let (what, looked_at, of) = match step {
            VerifyStep::Rows { looked_at, of } => ("pictures", looked_at, of),
            VerifyStep::Files { looked_at } => ("files", looked_at, looked_at),
            VerifyStep::Again { compared, of } => ("rendered again", compared as u64, of as u64),
        };
        self.bar.set_prefix(what);
        self.bar.set_length(of);
        self.bar.set_position(looked_at);
        let is_quiet = stderr::is_quiet() || !self.bar.is_hidden();
        if !is_quiet && self.told_at.elapsed() >= PLAIN_INTERVAL {
            stderr::tell(&format!("{what}: {looked_at} of {of}"));
            self.told_at = Instant::now();
        }
    }
}

fn told(verified: &Verified) -> String {
    let Verified { pictures, right, wrong, replaced, missing, strangers, again, .. } = verified;
    let mut lines = vec![format!("{right} of {} right", print::count(*pictures, "picture"))];
    if *replaced > 0 {
        let are = if *replaced == 1 { "is" } else { "are" };
        lines
            .push(format!("{replaced} of the others {are} gone and {are} rendered again, rightly"));
    }
    let told = verified.wrong_pictures.iter().take(TOLD_MAX);
    lines.extend(told.map(wrong_line));
    lines.extend(more(*wrong));
    let is_there = |it: &&WrongPicture| it.fault != PictureFault::Missing;
    if let Some(it) = verified.wrong_pictures.iter().find(is_there) {
        lines.push(format!(
            "what is there and wrong is left alone: to have it again, move the file away, then: \
             zimaged retry --missing {}.{}",
            it.job, it.picture
        ));
    }
    if *missing > 0 {
        let missing = print::count(*missing, "picture");
        lines.push(format!("{missing} missing: render again with zimaged retry --missing --all"));
    }
    if *strangers > 0 {
        lines.push(format!("{} without a row:", print::count(*strangers, "file")));
        let told = verified.stranger_files.iter().take(TOLD_MAX);
        lines.extend(told.map(|it| format!("{}: {}", printable(&it.path), meaning(it.kind))));
        lines.extend(more(*strangers));
    }
    lines.extend(again.iter().map(compared));
    lines.join("\n")
}

/// Whatever a name has in it is one line.
fn wrong_line(wrong: &WrongPicture) -> String {
    let WrongPicture { job, picture, path, text, .. } = wrong;
    format!("{job}.{picture} {}: {}", printable(path), printable(text))
}

fn more(number: u64) -> Option<String> {
    let left_out = number.saturating_sub(TOLD_MAX as u64);
    (left_out > 0).then(|| format!("and {left_out} more; --json lists a thousand"))
}

fn meaning(kind: StrangerKind) -> &'static str {
    match kind {
        StrangerKind::Forgotten => "a picture of this queue that it does not know by this name",
        StrangerKind::OtherQueue => "a picture of another queue",
        StrangerKind::Foreign => "no picture of zimaged",
        StrangerKind::NoFile => "neither a file nor a folder: a link is not followed",
        StrangerKind::NotLookedInto => {
            "a folder that was not looked into: it may not be read, or lies too deep"
        }
    }
}

fn compared(again: &Again) -> String {
    let Again { job, picture, .. } = again;
    let text = printable(&again.text);
    let by = again.again.map_or(String::new(), |again| format!(" by job {again}"));
    match again.fate {
        AgainFate::Same => format!("{job}.{picture} rendered again{by}: the same picture"),
        AgainFate::Different => format!("{job}.{picture} rendered again{by}: another one, {text}"),
        AgainFate::NotPromised => format!("{job}.{picture} not rendered again: {text}"),
        AgainFate::NotMade => format!("{job}.{picture} not rendered again{by}: {text}"),
    }
}
