//! `/metrics`, for Prometheus. What was tried and made is summed up in the database, so that a
//! restart loses nothing; what only this process knows, requests, is counted as they come. No label
//! has a prompt, a name or an id: their values are few.

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
use crate::store::{Metric, PICTURE_MS, RATIOS, STAGE_MS, Total};

/// What every metric's name begins with.
const PREFIX: &str = "zimaged";

/// Seconds of requests: most take a few milliseconds, and some wait for a picture.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 30.0, 600.0];

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
    for Total { label, stage, number, .. } in app.store().totals(Metric::Attempts).await? {
        if label == Outcome::OutOfMemory.to_string() {
            let by_stage = out_of_memory.get_or_create(&vec![("stage", stage.clone())]).clone();
            by_stage.inc_by(number.unsigned_abs());
        }
        let labels = vec![("outcome", label), ("stage", stage)];
        attempts.get_or_create(&labels).inc_by(number.unsigned_abs());
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
    let totals = app.store().totals(Metric::RenderMs).await?;
    let size_class = |total: &Total| ("size_class", format!("up_to_{}", total.label));
    let seconds = histograms_of_seconds(&totals, &PICTURE_MS, size_class);
    registry.register("render_seconds", "Seconds of a picture, by its longer side", seconds);
    let totals = app.store().totals(Metric::StageMs).await?;
    let stage = |total: &Total| ("stage", total.stage.clone());
    let seconds = histograms_of_seconds(&totals, &STAGE_MS, stage);
    registry.register("stage_seconds", "Seconds of a picture's stage", seconds);
    let mut ratios = CountedHistogram::new(&RATIOS);
    for total in app.store().totals(Metric::PredictedRatio).await? {
        ratios.add(total.bucket, total.number, total.sum);
    }
    let ratios = CountedHistograms(vec![(Vec::new(), ratios)]);
    registry.register("predicted_ratio", "Measured peak memory by the predicted one", ratios);
    Ok(())
}

/// One for each label, of totals in milliseconds.
fn histograms_of_seconds(
    totals: &[Total],
    bounds_ms: &[i64],
    label: impl Fn(&Total) -> (&'static str, String),
) -> CountedHistograms {
    let bounds_s: Vec<f64> = bounds_ms.iter().map(|ms| *ms as f64 / 1000.0).collect();
    let mut by_label: BTreeMap<(&str, String), CountedHistogram> = BTreeMap::new();
    for total in totals {
        let of_label = by_label.entry(label(total));
        let of_label = of_label.or_insert_with(|| CountedHistogram::new(&bounds_s));
        of_label.add(total.bucket, total.number, total.sum / 1000.0);
    }
    CountedHistograms(by_label.into_iter().map(|(label, of)| (vec![label], of)).collect())
}

/// What is in the queue, and what has left it.
async fn add_queue(app: &App, registry: &mut Registry) -> Result<(), HttpProblem> {
    let (ended, waiting) =
        (Family::<Labels, Counter>::default(), Family::<Labels, Gauge>::default());
    for state in ["queued", "running"] {
        waiting.get_or_create(&vec![("state", state.to_owned())]).set(0);
    }
    for Total { label, number, .. } in app.store().totals(Metric::Renders).await? {
        ended.get_or_create(&vec![("outcome", label)]).inc_by(number.unsigned_abs());
    }
    for total in app.store().open_totals().await? {
        waiting.get_or_create(&vec![("state", total.state.to_string())]).set(total.renders);
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
