//! What is being done, on one line with the time left: below the log of `run`, and for systemd.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::ladder::Stage;
use crate::moment;
use crate::queue::{JobLeft, Obstacle, job_left, obstacle};
use crate::spelling::memory;
use crate::status::{HeldModel, RenderStatus, Status, WorkerStatus};
use crate::store::Store;

/// Between two looks at the database for what is left of the job.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Less memory than this is not worth a word.
const MEBIBYTE: u64 = 1 << 20;

/// Says what is done, and keeps for a moment what the database said of it.
#[derive(Default)]
pub struct AtWork {
    look: Option<Look>,
    /// What kept all renders from being started, when somebody looked last.
    obstacle: Option<(Instant, Option<Obstacle>)>,
}

/// A job's picture at work, and what the database said of the job at the time.
struct Look {
    job_id: i64,
    at: Instant,
    left: JobLeft,
}

impl AtWork {
    /// `job 3, picture 4 of 12, step 5/8, 40 s left, 5.80 GiB`, or why nothing is rendered; in at
    /// most `width_max` columns, as far as its parts can be left out.
    pub async fn line(
        &mut self,
        config: &Config,
        store: &Store,
        status: &Status,
        width_max: Option<usize>,
    ) -> String {
        let Some(render) = status.render.as_ref().filter(|_| status.hold.is_none()) else {
            return self.waiting(config, store, status).await.unwrap_or_else(|| status.line());
        };
        let is_fresh =
            |look: &&Look| look.job_id == render.job_id && look.at.elapsed() < LOOK_INTERVAL;
        if let Some(look) = self.look.as_ref().filter(is_fresh) {
            return picture(render, &look.left, width_max);
        }
        // What is not known for a while is left out.
        let left = job_left(config, store, render.job_id, render.begun()).await.unwrap_or_default();
        let line = picture(render, &left, width_max);
        self.look = Some(Look { job_id: render.job_id, at: Instant::now(), left });
        line
    }

    /// What a worker that could render waits for, and until when, where that can be said.
    async fn waiting(&mut self, config: &Config, store: &Store, status: &Status) -> Option<String> {
        let can_render =
            matches!(status.worker, WorkerStatus::Ready { .. } | WorkerStatus::Released);
        if !can_render || status.hold.is_some() || status.stopping {
            return None;
        }
        if self.obstacle.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK_INTERVAL) {
            let quiet = (&config.power.quiet, &TimeZone::system());
            // What is not known for a while is left out.
            let found = obstacle(store, quiet, SystemClock.now_ms()).await.unwrap_or_default();
            self.obstacle = Some((Instant::now(), found));
        }
        let (_, obstacle) = self.obstacle.as_ref()?;
        let held = status.held_models.first().map(HeldModel::told);
        obstacle.as_ref().map(ToString::to_string).or(held)
    }
}

/// What stays of the line, in its order, where there is less and less room: the time that is left
/// is what people look for.
const NARROWER: [&[usize]; 5] = [&[0, 1, 2, 3, 4], &[0, 1, 2, 3], &[0, 1, 3], &[1, 3], &[3]];

fn picture(render: &RenderStatus, left: &JobLeft, width_max: Option<usize>) -> String {
    let of = if left.pictures > 0 { format!(" of {}", left.pictures) } else { String::new() };
    let parts = [
        format!("job {}", render.job_id),
        format!("picture {}{of}", render.index),
        how_far(render.stage, render.step, render.steps),
        time_left(left).unwrap_or_default(),
        needed(render),
    ];
    let line = |kept: &&[usize]| {
        let parts = kept.iter().map(|part| parts[*part].as_str()).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(", ")
    };
    // Where nobody knows the time, the line without it is as short as it gets.
    let lines = NARROWER.iter().map(line).filter(|line| !line.is_empty());
    let fits = |line: &String| width_max.is_none_or(|width_max| line.len() <= width_max);
    let mut narrowest = String::new();
    for line in lines {
        if fits(&line) {
            return line;
        }
        narrowest = line;
    }
    narrowest
}

/// `5.80 GiB`, and where that is more than what there is, how much there is.
fn needed(render: &RenderStatus) -> String {
    let RenderStatus { predicted_bytes, missing_bytes, .. } = *render;
    match (predicted_bytes, missing_bytes) {
        (..MEBIBYTE, _) => String::new(),
        (_, 0) => memory(predicted_bytes),
        _ => {
            let usable = memory(predicted_bytes.saturating_sub(missing_bytes));
            format!("{} where {usable} may be used", memory(predicted_bytes))
        }
    }
}

/// The step, or the stage before the first and after the last one.
pub fn how_far(stage: Option<Stage>, step: u32, steps: u32) -> String {
    match stage {
        Some(stage) if step == 0 || step >= steps => stage.to_string(),
        _ => format!("step {step}/{steps}"),
    }
}

/// `40 s left`, and whether nobody measured it; `None` where nobody knows, as of what may fail.
pub fn time_left(left: &JobLeft) -> Option<String> {
    let mark = if left.is_estimate { " (estimated)" } else { "" };
    let told = left.left_ms.filter(|_| left.unfit == 0).and_then(moment::left);
    told.map(|told| format!("{told} left{mark}"))
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
            missing_bytes: 0,
            lora: Loras::default(),
        }
    }

    fn left_of(pictures: u64) -> JobLeft {
        JobLeft { pictures, left_ms: Some(40_000), ..JobLeft::default() }
    }

    // newcomer 13
    #[test]
    fn the_line_has_job_picture_step_time_and_memory() {
        let left = left_of(12);
        let line = picture(&render(5), &left, None);
        assert_eq!(line, "job 3, picture 4 of 12, step 5/8, 40 s left, 76 MiB");
        let estimated = JobLeft { is_estimate: true, ..left };
        let line = picture(&render(5), &estimated, None);
        assert_eq!(line, "job 3, picture 4 of 12, step 5/8, 40 s left (estimated), 76 MiB");
        let decoding = RenderStatus { stage: Some(Stage::VaeDecode), ..render(8) };
        let soon = JobLeft { left_ms: Some(900), ..left_of(12) };
        let line = picture(&decoding, &soon, None);
        assert_eq!(line, "job 3, picture 4 of 12, VAE decoding, 76 MiB", "no 0 s");
        let unknown = picture(&render(5), &JobLeft::default(), None);
        assert_eq!(unknown, "job 3, picture 4, step 5/8, 76 MiB", "nothing is made up");
        // It may fail at its end, and nobody knows when.
        let lacks = RenderStatus { missing_bytes: 38 << 20, ..render(5) };
        let line = picture(&lacks, &JobLeft { unfit: 1, ..left_of(12) }, None);
        let memory = "76 MiB where 38 MiB may be used";
        assert_eq!(line, format!("job 3, picture 4 of 12, step 5/8, {memory}"));
    }

    // newcomer 13
    #[test]
    fn the_time_left_stays_where_there_is_little_room() {
        let line = |left: &JobLeft, columns| picture(&render(5), left, Some(columns));
        let left = JobLeft { left_ms: Some(7_800_000), ..left_of(500) };
        assert_eq!(line(&left, 80), "job 3, picture 4 of 500, step 5/8, 2 h 10 min left, 76 MiB");
        assert_eq!(line(&left, 50), "job 3, picture 4 of 500, step 5/8, 2 h 10 min left");
        assert_eq!(line(&left, 40), "job 3, picture 4 of 500, 2 h 10 min left");
        assert_eq!(line(&left, 35), "picture 4 of 500, 2 h 10 min left");
        assert_eq!(line(&left, 10), "2 h 10 min left");
        assert_eq!(line(&JobLeft::default(), 20), "job 3, picture 4");
        assert_eq!(line(&JobLeft::default(), 10), "picture 4");
    }
}
