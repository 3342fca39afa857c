//! What is being done, on one line: below the log of `run` on a terminal, and now and then
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{logging, stderr};
use crate::config::Config;
use crate::daemon::Onlooker;
use crate::ladder::Stage;
use crate::moment;
use crate::queue::{Activity, JobLeft, JobProgress, Queue, job_left};
use crate::status::{RenderStatus, Status};
use crate::store::Store;

/// Between two drawings of the line: steps can follow each other faster than anybody reads.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Between two looks at the database for what is left of the job.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where no line can be drawn again and again, one is said so often while a picture takes long.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Less memory than this is not worth a word.
const MEBIBYTE: u64 = 1 << 20;

/// Shows what the daemon of `config` does.
pub(super) fn onlooker(config: Config) -> Onlooker {
    Box::new(move |store, status, stop| {
        Box::pin(async move {
            if stderr::is_quiet() {
                return stop.cancelled().await;
            }
            let is_live = stderr::is_live() && logging::is_for_people();
            let watching = follow(&config, store, status, is_live);
            stop.run_until_cancelled(watching).await;
            stderr::show(None);
        })
    })
}

/// Never returns by itself.
async fn follow(
    config: &Config,
    store: Arc<Store>,
    mut status: watch::Receiver<Status>,
    is_live: bool,
) {
    let mut look = None;
    let mut told_at = Instant::now();
    loop {
        let now = status.borrow_and_update().clone();
        let line = line(config, &store, &now, &mut look).await;
        if is_live {
            stderr::show(Some(line));
        } else if now.render.is_none() {
            told_at = Instant::now();
        } else if told_at.elapsed() >= PLAIN_INTERVAL {
            info!("{line}");
            told_at = Instant::now();
        }
        sleep(DRAW_INTERVAL).await;
    }
}

/// A job's picture at work, and what the database said of the job at the time.
struct Look {
    job_id: i64,
    at: Instant,
    left: JobLeft,
}

async fn line(config: &Config, store: &Store, status: &Status, look: &mut Option<Look>) -> String {
    let Some(render) = status.render.as_ref().filter(|_| status.hold.is_none()) else {
        return status.line();
    };
    let is_fresh = |look: &Look| look.job_id == render.job_id && look.at.elapsed() < LOOK_INTERVAL;
    if !look.as_ref().is_some_and(is_fresh) {
        // What is not known for a while is left out.
        let left = job_left(config, store, render.job_id, render.begun()).await;
        let left = left.unwrap_or_default();
        *look = Some(Look { job_id: render.job_id, at: Instant::now(), left });
    }
    picture(render, &look.as_ref().map(|look| look.left.clone()).unwrap_or_default())
}

/// `job 3, picture 4 of 12, step 5/8, 40 s left, 5.8 GiB`.
fn picture(render: &RenderStatus, left: &JobLeft) -> String {
    let of = if left.pictures > 0 { format!(" of {}", left.pictures) } else { String::new() };
    let mut line = format!("job {}, picture {}{of}", render.job_id, render.index);
    line += &format!(", {}", how_far(render.stage, render.step, render.steps));
    line += &time_left(left);
    if render.predicted_bytes >= MEBIBYTE {
        line += &format!(", {}", memory(render.predicted_bytes));
    }
    line
}

/// The step, or the stage before the first and after the last one.
fn how_far(stage: Option<Stage>, step: u32, steps: u32) -> String {
    match stage {
        Some(stage) if step == 0 || step >= steps => stage.to_string(),
        _ => format!("step {step}/{steps}"),
    }
}

/// `, 40 s left`, and whether nobody measured it; empty where nobody knows.
fn time_left(left: &JobLeft) -> String {
    let mark = if left.is_estimate { " (estimated)" } else { "" };
    let told = left.left_ms.and_then(moment::left);
    told.map_or(String::new(), |told| format!(", {told} left{mark}"))
}

fn memory(bytes: u64) -> String {
    let mebibytes = bytes as f64 / MEBIBYTE as f64;
    match mebibytes {
        ..1024.0 => format!("{mebibytes:.0} MiB"),
        _ => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

/// How far a job is that is waited for: a bar on a terminal, a line now and then elsewhere.
pub(super) struct JobBar {
    bar: ProgressBar,
    left: Option<(Instant, JobLeft)>,
    told_at: Instant,
    told_ended: u64,
}

impl JobBar {
    pub(super) fn new(job_id: i64) -> JobBar {
        let is_live = stderr::is_live() && !stderr::is_quiet();
        let bar = if is_live { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("job {prefix} {wide_bar} {pos}/{len} {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(job_id.to_string());
        JobBar { bar, left: None, told_at: Instant::now(), told_ended: 0 }
    }

    pub(super) async fn show(&mut self, queue: &Queue<'_>, progress: &JobProgress) {
        if self.left.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK_INTERVAL) {
            let begun = match progress.activity {
                Activity::Renders { step, steps, .. } => f64::from(step) / f64::from(steps.max(1)),
                _ => 0.0,
            };
            let left = queue.job_left(progress.job.job, begun).await.unwrap_or_default();
            self.left = Some((Instant::now(), left));
        }
        self.bar.set_length(progress.renders);
        self.bar.set_position(progress.ended);
        self.bar.set_message(self.message(&progress.activity));
        if self.bar.is_hidden() && !stderr::is_quiet() {
            self.tell_now_and_then(progress);
        }
    }

    /// Says something above the bar.
    pub(super) fn tell(&self, text: &str) {
        self.bar.suspend(|| stderr::tell(text));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A line for a picture, though not for each where they come fast, and one while none ends.
    fn tell_now_and_then(&mut self, progress: &JobProgress) {
        let JobProgress { job, ended, renders, .. } = progress;
        let pause = if *ended == self.told_ended { PLAIN_INTERVAL } else { LOOK_INTERVAL };
        if self.told_at.elapsed() < pause || progress.is_over() {
            return;
        }
        let message = self.message(&progress.activity);
        let comma = if message.is_empty() { "" } else { ", " };
        stderr::tell(&format!(
            "job {}: {ended} of {renders} pictures ended{comma}{message}",
            job.job
        ));
        self.told_at = Instant::now();
        self.told_ended = *ended;
    }

    /// What stands behind the bar.
    fn message(&self, activity: &Activity) -> String {
        match activity {
            Activity::WaitsUntil { at_ms } => moment::starts(*at_ms).unwrap_or_default(),
            Activity::Renders { index, stage, step, steps } => {
                let left = self.left.as_ref().map(|(_, left)| time_left(left));
                let how_far = how_far(*stage, *step, *steps);
                format!("picture {index}, {how_far}{}", left.unwrap_or_default())
            }
            Activity::Held { reason } => reason.clone(),
            Activity::NoDaemon => "the daemon is not running".to_owned(),
            Activity::Waits => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::lora::Loras;

    fn render(step: u32) -> RenderStatus {
        RenderStatus {
            job_id: 3,
            index: 4,
            rung: "device/full/whole 256x256 8 steps".to_owned(),
            stage: None,
            step,
            steps: 8,
            predicted_bytes: 76 << 20,
            lora: Loras::default(),
        }
    }

    fn left_of(pictures: u64) -> JobLeft {
        JobLeft { pictures, left_ms: Some(40_000), is_estimate: false }
    }

    // newcomer 13
    #[test]
    fn the_line_has_job_picture_step_time_and_memory() {
        let left = left_of(12);
        let line = picture(&render(5), &left);
        assert_eq!(line, "job 3, picture 4 of 12, step 5/8, 40 s left, 76 MiB");
        let estimated = JobLeft { is_estimate: true, ..left };
        let line = picture(&render(5), &estimated);
        assert_eq!(line, "job 3, picture 4 of 12, step 5/8, 40 s left (estimated), 76 MiB");
        let decoding = RenderStatus { stage: Some(Stage::VaeDecode), ..render(8) };
        let soon = JobLeft { left_ms: Some(900), ..left_of(12) };
        let line = picture(&decoding, &soon);
        assert_eq!(line, "job 3, picture 4 of 12, VAE decoding, 76 MiB", "no 0 s");
        let unknown = picture(&render(5), &JobLeft::default());
        assert_eq!(unknown, "job 3, picture 4, step 5/8, 76 MiB", "nothing is made up");
    }
}
