//! What is being done, on one line: below the log of `run` on a terminal, and now and then
//! elsewhere.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{logging, stderr};
use crate::at_work::{AtWork, how_far, time_left};
use crate::config::Config;
use crate::daemon::Onlooker;
use crate::moment;
use crate::queue::{Activity, JobLeft, JobProgress, Queue};
use crate::status::Status;
use crate::store::Store;

/// Between two drawings of the line: steps can follow each other faster than anybody reads.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);

/// Between two looks at the database for what is left of the job.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where no line can be drawn again and again, one is said so often while a picture takes long.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

const STOPPING: &str = "stopping at the picture's next step; once more to end at once";

/// Shows what the daemon of `config` does.
pub(super) fn onlooker(config: Config) -> Onlooker {
    Box::new(move |store, status, stop| {
        Box::pin(async move {
            if stderr::is_quiet() {
                return stop.cancelled().await;
            }
            let is_live = stderr::is_live() && logging::is_for_people();
            let watching = follow(&config, store, status.clone(), is_live);
            stop.run_until_cancelled(watching).await;
            // Until the picture has stopped and the program takes the line away.
            let stops = is_live && status.borrow().render.is_some();
            stderr::show(stops.then(|| STOPPING.to_owned()));
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
    let mut at_work = AtWork::default();
    let mut told_at = Instant::now();
    loop {
        let now = status.borrow_and_update().clone();
        let width_max = stderr::width().filter(|_| is_live);
        let line = at_work.line(config, &store, &now, width_max).await;
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
        // What is said is as long as it is, and a terminal as wide: the text gives way.
        let style = ProgressStyle::with_template("job {prefix} {bar:12} {pos}/{len} {wide_msg}");
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
        self.bar.set_message(self.message(&progress.activity, true));
        if self.bar.is_hidden() && !stderr::is_quiet() {
            self.tell_now_and_then(progress);
        }
    }

    /// Says something above the bar.
    pub(super) fn tell(&self, text: &str) {
        self.bar.suspend(|| stderr::remark(text));
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
        let message = self.message(&progress.activity, false);
        let comma = if message.is_empty() { "" } else { ", " };
        stderr::tell(&format!(
            "job {}: {ended} of {renders} pictures ended{comma}{message}",
            job.job
        ));
        self.told_at = Instant::now();
        self.told_ended = *ended;
    }

    /// What stands behind the bar, whose end is cut where there is little room: there the time that
    /// is left comes first, which is what people look for.
    fn message(&self, activity: &Activity, may_be_cut: bool) -> String {
        match activity {
            Activity::WaitsUntil { at_ms } => moment::starts(*at_ms).unwrap_or_default(),
            Activity::Renders { index, stage, step, steps } => {
                let left = self.left.as_ref().and_then(|(_, left)| time_left(left));
                let picture = format!("picture {index}, {}", how_far(*stage, *step, *steps));
                match left {
                    Some(left) if may_be_cut => format!("{left}, {picture}"),
                    Some(left) => format!("{picture}, {left}"),
                    None => picture,
                }
            }
            Activity::Held { reason } => reason.clone(),
            Activity::NoDaemon => "the daemon is not running".to_owned(),
            Activity::Waits => String::new(),
        }
    }
}
