//! `/metrics`, for Prometheus. What the database knows is counted at each look, so that a restart
//! loses nothing; what only this process knows, requests, is counted as they come. No label has a
//! prompt, a name or an id: their values are few.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::app::{App, FaceState};
use super::blocking::blocking;
use super::histogram::{CountedHistogram, CountedHistograms, Labels};
use super::problem::HttpProblem;
use crate::attempt::Outcome;
use crate::clock::{Clock, SystemClock};
use crate::queue::FolderRoom;
use crate::status::WorkerStatus;
use crate::store::StagesTotal;

/// What every metric's name begins with.
const PREFIX: &str = "zimaged";

/// Seconds of requests: most take a few milliseconds, and some wait for a picture.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 30.0, 600.0];

/// Bounds of what a picture takes: from the miniature's to a large one on a processor.
const PICTURE_MS: [i64; 10] =
    [250, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000];

/// Bounds of what a stage takes: a known prompt's text takes next to nothing.
const STAGE_MS: [i64; 10] = [10, 50, 250, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000, 1_800_000];

/// Bounds of measured by predicted: above 1 a prediction was too low.
const RATIOS: [f64; 7] = [0.25, 0.5, 0.75, 0.9, 0.97, 1.0, 1.1];

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: String,
    status: u16,
}

/// What was counted since the start.
#[derive(Clone)]
pub struct Requests {
    registry: Arc<Registry>,
    total: Family<RouteLabels, Counter>,
    seconds: Family<Labels, Histogram>,
}

impl Requests {
    pub fn new() -> Requests {
        let total = Family::default();
        let make: fn() -> Histogram = || Histogram::new(SECONDS);
        let seconds: Family<Labels, Histogram> = Family::new_with_constructor(make);
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register("http_requests", "Requests", total.clone());
        registry.register("http_seconds", "Seconds until an answer begins", seconds.clone());
        Requests { registry: Arc::new(registry), total, seconds }
    }

    fn count(&self, (route, method): (String, String), status: u16, took: Duration) {
        self.seconds.get_or_create(&vec![("route", route.clone())]).observe(took.as_secs_f64());
        self.total.get_or_create(&RouteLabels { route, method, status }).inc();
    }
}

/// Counts a request by its route, of which there are few, and not by its path.
pub async fn count(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let method = known.into_iter().find(|known| *known == request.method().as_str());
    let (method, begun) = (method.unwrap_or("other").to_owned(), Instant::now());
    let response = next.run(request).await;
    requests.count((route, method), response.status().as_u16(), begun.elapsed());
    response
}

/// All of it, as text.
pub async fn metrics(
    State((state, requests)): State<(FaceState, Requests)>,
) -> Result<Response, HttpProblem> {
    let mut registry = Registry::with_prefix(PREFIX);
    let app = state.app();
    add_history(&app, &mut registry).await?;
    add_pictures(&app, &mut registry).await?;
    add_queue(&app, &mut registry).await?;
    add_daemon(&app, &mut registry);
    add_disks(&app, &mut registry).await?;
    let mut text = String::new();
    let written = encode_registry(&mut text, &registry)
        .and_then(|()| encode_registry(&mut text, &requests.registry))
        .and_then(|()| encode_eof(&mut text));
    written.map_err(|error| HttpProblem::ours(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, TYPE)], text).into_response())
}

/// What was tried and made.
async fn add_history(app: &App, registry: &mut Registry) -> Result<(), HttpProblem> {
    let attempts: Family<Labels, Counter> = Family::default();
    let out_of_memory: Family<Labels, Counter> = Family::default();
    for total in app.store().attempt_totals().await? {
        let stage = total.stage.map_or("none".to_owned(), |stage| stage.to_string());
        let labels = vec![("outcome", total.outcome.to_string()), ("stage", stage.clone())];
        attempts.get_or_create(&labels).inc_by(total.attempts.unsigned_abs());
        if total.outcome == Outcome::OutOfMemory {
            let by_stage = out_of_memory.get_or_create(&vec![("stage", stage)]).clone();
            by_stage.inc_by(total.attempts.unsigned_abs());
        }
    }
    registry.register("attempts", "Attempts at pictures, by how they ended", attempts);
    registry.register("out_of_memory", "Attempts that ran out of memory", out_of_memory);
    let starts: Counter = Counter::default();
    starts.inc_by(app.store().worker_starts().await?.unsigned_abs());
    registry.register("worker_starts", "Models that were loaded", starts);
    Ok(())
}

/// How long pictures took, and how good their predictions were.
async fn add_pictures(app: &App, registry: &mut Registry) -> Result<(), HttpProblem> {
    let bounds_s = PICTURE_MS.map(|ms| ms as f64 / 1000.0);
    let mut by_side: BTreeMap<i64, CountedHistogram> = BTreeMap::new();
    for total in app.store().seconds_totals(&PICTURE_MS).await? {
        let of_side = by_side.entry(total.side).or_insert_with(|| CountedHistogram::new(&bounds_s));
        of_side.add(total.bucket, total.pictures, total.total_ms as f64 / 1000.0);
    }
    let labelled = by_side.into_iter().map(|(side, of_side)| {
        let labels = vec![("size_class", format!("up_to_{side}"))];
        (labels, of_side)
    });
    let seconds = CountedHistograms(labelled.collect());
    registry.register("render_seconds", "Seconds of a picture, by its longer side", seconds);
    let mut by_stage: BTreeMap<&str, CountedHistogram> = BTreeMap::new();
    for total in app.store().stages_totals(&STAGE_MS).await? {
        for (stage, bucket, ms) in stages(&total) {
            let bounds_s = || CountedHistogram::new(&STAGE_MS.map(|ms| ms as f64 / 1000.0));
            let of_stage = by_stage.entry(stage).or_insert_with(bounds_s);
            of_stage.add(bucket, total.pictures, ms as f64 / 1000.0);
        }
    }
    let labelled = by_stage.into_iter();
    let labelled = labelled.map(|(stage, of_stage)| (vec![("stage", stage.to_owned())], of_stage));
    let seconds = CountedHistograms(labelled.collect());
    registry.register("stage_seconds", "Seconds of a picture's stage", seconds);
    let mut ratios = CountedHistogram::new(&RATIOS);
    for total in app.store().ratio_totals(&RATIOS).await? {
        ratios.add(total.bucket, total.pictures, total.ratios);
    }
    let ratios = CountedHistograms(vec![(Vec::new(), ratios)]);
    registry.register("predicted_ratio", "Measured peak memory by the predicted one", ratios);
    Ok(())
}

/// Each stage with its bucket and its milliseconds.
fn stages(total: &StagesTotal) -> [(&'static str, i64, i64); 4] {
    [
        ("text_encode", total.text_encode, total.text_encode_ms),
        ("denoise", total.denoise, total.denoise_ms),
        ("vae_decode", total.vae_decode, total.vae_decode_ms),
        ("picture_encode", total.picture_encode, total.picture_encode_ms),
    ]
}

/// What is in the queue, and what has left it.
async fn add_queue(app: &App, registry: &mut Registry) -> Result<(), HttpProblem> {
    let (ended, waiting) =
        (Family::<Labels, Counter>::default(), Family::<Labels, Gauge>::default());
    for state in ["queued", "running"] {
        waiting.get_or_create(&vec![("state", state.to_owned())]).set(0);
    }
    for total in app.store().state_totals().await? {
        let state = total.state.to_string();
        match total.state.is_terminal() {
            true => {
                let labels = vec![("outcome", state)];
                ended.get_or_create(&labels).inc_by(total.renders.unsigned_abs());
            }
            false => drop(waiting.get_or_create(&vec![("state", state)]).set(total.renders)),
        }
    }
    registry.register("renders", "Pictures that have ended, by how", ended);
    registry.register("queue_renders", "Pictures that have not ended", waiting);
    let oldest: Gauge<f64, AtomicU64> = Gauge::default();
    let oldest_ms = app.store().oldest_queued_ms().await?;
    let age_ms = oldest_ms.map_or(0, |at_ms| (SystemClock.now_ms() - at_ms).max(0));
    oldest.set(age_ms as f64 / 1000.0);
    registry.register("queue_oldest_seconds", "Age of the oldest queued picture", oldest);
    let paused: Gauge = Gauge::default();
    paused.set(i64::from(app.store().paused().await?.is_some()));
    registry.register("paused", "Whether the queue is paused", paused);
    Ok(())
}

/// What the daemon says of itself.
fn add_daemon(app: &App, registry: &mut Registry) {
    let status = app.status();
    let build: Family<Labels, Gauge> = Family::default();
    build.get_or_create(&vec![("version", status.version.clone())]).set(1);
    registry.register("build_info", "The program", build);
    let (up, hold) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    let memory: Family<Labels, Gauge> = Family::default();
    if let WorkerStatus::Ready { used_bytes, .. } = status.worker {
        up.set(1);
        let labels = vec![("kind", "used".to_owned())];
        memory.get_or_create(&labels).set(i64::try_from(used_bytes).unwrap_or(i64::MAX));
    }
    if let Some(render) = &status.render {
        let labels = vec![("kind", "predicted".to_owned())];
        let bytes = i64::try_from(render.predicted_bytes).unwrap_or(i64::MAX);
        memory.get_or_create(&labels).set(bytes);
    }
    hold.set(i64::from(status.unwanted_hold().is_some()));
    registry.register("worker_up", "Whether a model is loaded", up);
    registry.register("device_memory_bytes", "Memory of the device", memory);
    registry.register(
        "hold",
        "Whether nothing can be started for now, against its owner's wish",
        hold,
    );
    let streams: Gauge = Gauge::default();
    streams.set(app.streams());
    registry.register("event_streams", "Streams of events that are followed", streams);
}

/// The room that is left for what is written.
async fn add_disks(app: &App, registry: &mut Registry) -> Result<(), HttpProblem> {
    let free: Family<Labels, Gauge> = Family::default();
    let asked = app.clone();
    for FolderRoom { name, free_bytes, .. } in blocking(move || asked.queue().rooms()).await? {
        if let Some(bytes) = free_bytes {
            let labels = vec![("folder", name.to_owned())];
            free.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
    registry.register("disk_free_bytes", "What the disk of a folder has left", free);
    Ok(())
}
