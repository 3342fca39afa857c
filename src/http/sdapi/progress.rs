//! How far the oldest job is that came by this API, and its end by a user's word. Nobody else's job
//! is told of, or ended, by it.

use axum::Json;
use axum::extract::{Query, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::app::App;
use crate::http::picture;
use crate::http::problem::HttpProblem;
use crate::job::origin::{Api, Origin};
use crate::queue::Which;
use crate::status::RenderStatus;
use crate::store::{JobRow, Selection};

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HowFar {
    /// Leaves out how the picture looks so far.
    skip_current_image: Option<String>,
}

impl HowFar {
    fn wants_image(&self) -> bool {
        let skip = self.skip_current_image.as_deref().unwrap_or_default();
        !["true", "1"].contains(&skip.to_ascii_lowercase().as_str())
    }
}

async fn current(app: &App) -> Result<Option<JobRow>, HttpProblem> {
    let oldest = app.store().oldest_unfinished(Origin::Http(Api::Sdapi).kind()).await?;
    match oldest {
        Some(job_id) => Ok(Some(app.store().job(job_id).await?)),
        None => Ok(None),
    }
}

pub async fn progress(
    State(app): State<App>,
    Query(asked): Query<HowFar>,
) -> Result<Json<Value>, HttpProblem> {
    let Some(job) = current(&app).await? else {
        // Exactly these numbers are what clients take for an idle server.
        return Ok(Json(told(0.0, 0.0, state(0, 0, (0, 0), false), None)));
    };
    let running = app.status().render.filter(|render| render.job_id == job.job);
    let ended = job.done + job.failed + job.cancelled;
    let steps = running.as_ref().map_or((0, 0), |render| (render.step, render.steps));
    let begun = running.as_ref().map_or(0.0, |render| render.begun());
    let progress = 0.01 + (ended as f64 + begun) / job.renders.max(1) as f64;
    let left = app.queue().job_left(job.job, begun).await?;
    let eta_s = left.left_ms.unwrap_or_default() as f64 / 1000.0;
    let state = state(job.renders, ended, steps, job.is_stopping());
    let mut told = told(progress.min(1.0), eta_s, state, Some(job.job));
    if let Some(render) = running.filter(|_| asked.wants_image()) {
        told["current_image"] = json!(image(&app, &render).await);
    }
    Ok(Json(told))
}

/// How the picture looks so far, in base64; `None` while there is no preview.
async fn image(app: &App, render: &RenderStatus) -> Option<String> {
    let jpeg = picture::preview_jpeg(app, (render.job_id, render.index)).await;
    jpeg.ok().map(|jpeg| STANDARD.encode(jpeg))
}

fn told(progress: f64, eta_s: f64, state: Value, job: Option<i64>) -> Value {
    json!({
        "progress": progress,
        "eta_relative": eta_s,
        "state": state,
        "current_image": null,
        "textinfo": null,
        "current_task": job.map(|job| format!("job {job}")),
    })
}

fn state(jobs: i64, ended: i64, (step, steps): (u32, u32), is_stopping: bool) -> Value {
    json!({
        "skipped": false,
        "interrupted": is_stopping,
        "stopping_generation": is_stopping,
        "job": if jobs > 0 { format!("Batch {} out of {jobs}", ended + 1) } else { String::new() },
        "job_count": jobs,
        "job_timestamp": "0",
        "job_no": ended,
        "sampling_step": step,
        "sampling_steps": steps,
    })
}

/// Ends the oldest job; whoever waits for it gets what was made.
pub async fn interrupt(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    if let Some(job) = current(&app).await? {
        let which = Which::Named(vec![Selection::Job(job.job)]);
        // It may just have ended.
        let _ = app.queue().cancel(&which).await;
    }
    Ok(Json(json!({})))
}

/// Ends its running picture only.
pub async fn skip(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    if let Some(job) = current(&app).await?
        && let Some(render) = app.status().render.filter(|render| render.job_id == job.job)
    {
        let picture = Selection::Render { job_id: job.job, index: render.index };
        let _ = app.queue().cancel(&Which::Named(vec![picture])).await;
    }
    Ok(Json(Value::Null))
}
