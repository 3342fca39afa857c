//! The HTTP face: the queue for programs and browsers.
//!
//! Answers come from `queue` and the store; nothing is decided here but how they look on the wire.
//! `serve` has connections and their limits, `listen` the port, `app` what all requests share.

mod api;
mod app;
mod archive;
mod assistant;
mod blocking;
mod body;
mod connections;
mod csv;
mod encoded;
mod fields;
mod guard;
mod health;
mod histogram;
mod job_body;
mod limits;
mod listen;
mod metrics;
mod openai;
mod picture;
mod page;
mod patience;
mod prefer;
mod problem;
mod problem_answer;
mod recent_events;
mod reference;
mod repeats;
mod sdapi;
mod serve;
mod upcoming;
mod waited_jobs;
mod waiting;

use std::io;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::app::FaceState;
use self::guard::{Guard, Token};
use self::limits::HttpLimits;
pub use self::limits::scarcity;
use self::listen::Listener;
pub use self::listen::check_free;
use self::metrics::Requests;
use self::problem::HttpProblem;
use crate::config::{ConfigError, HttpConfig, Listen, LiveConfig, TokenUse};
use crate::descriptors;
use crate::status::Status;
use crate::store::{Access, Store};

/// Between two tries to get a port that was taken.
const BIND_PAUSE: Duration = Duration::from_secs(10);

/// The face, before it answers anybody.
pub struct HttpFace {
    state: FaceState,
    /// As it was at the start.
    config: HttpConfig,
    status: watch::Sender<Status>,
    token: Option<Token>,
    limits: HttpLimits,
    /// With where it is.
    listener: Option<(Listener, Listen)>,
}

impl HttpFace {
    /// Opens the queue for it and takes its port, so that who knows that the daemon is ready can
    /// ask. A port that cannot be had is told, and tried for again while it runs.
    pub async fn open(
        live: &LiveConfig,
        status: watch::Sender<Status>,
        stop: &CancellationToken,
    ) -> anyhow::Result<HttpFace> {
        let config = live.now();
        let token = match config.http.token {
            TokenUse::Off => None,
            TokenUse::Always => Some(
                Token::of(&config.state).map_err(|error| ConfigError::Http(error.to_string()))?,
            ),
        };
        let store = Store::open(&config.database_path(), Access::Client).await?;
        let allowed = descriptors::allowed();
        let limits = HttpLimits::of(allowed);
        let state = FaceState::new(live.clone(), store, limits, status.clone(), stop.clone());
        let config = config.http.clone();
        let mut face = HttpFace { state, config, status, token, limits, listener: None };
        face.tell_scarcity(scarcity(allowed));
        match Listener::inherited() {
            Ok(Some(listener)) => {
                let place = listener.place()?;
                if place.is_open() && face.config.token == TokenUse::Off {
                    let told = format!(
                        "LISTEN_FDS: other machines can reach {place}: add token = \"always\""
                    );
                    return Err(ConfigError::Http(told).into());
                }
                face.take(Ok(listener));
            }
            Ok(None) => face.listen().await,
            Err(error) => return Err(ConfigError::Http(format!("LISTEN_FDS: {error}")).into()),
        }
        Ok(face)
    }

    /// Answers until `stop`, on a thread of its own: hundreds of clients that are to be told at
    /// once would stand before the dispatcher on a shared one.
    pub async fn run(self, stop: CancellationToken) {
        let served = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.serve(stop));
            io::Result::Ok(())
        });
        match served.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "no HTTP: its thread has no runtime"),
            // The daemon ends by it, as by a panic of each of its parts.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }

    /// Ends with the last answer or after a grace period.
    async fn serve(mut self, stop: CancellationToken) {
        while self.listener.is_none() {
            if stop.run_until_cancelled(tokio::time::sleep(BIND_PAUSE)).await.is_none() {
                break;
            }
            self.listen().await;
        }
        if let Some((listener, place)) = self.listener.take() {
            let guard = Guard::new(&self.config, &place, self.token.take());
            let router = router(self.state.clone(), guard);
            serve::serve(listener, router, self.limits.connections, &stop).await;
        }
        self.state.close().await;
    }

    async fn listen(&mut self) {
        let bound = Listener::bind(&self.config.listen).await;
        self.take(bound);
    }

    fn take(&mut self, bound: io::Result<Listener>) {
        let bound = bound.and_then(|listener| Ok((listener.place()?, listener)));
        match bound {
            Ok((place, listener)) => {
                info!("HTTP on {}", place.url());
                self.tell(Some(place.url()), None);
                self.listener = Some((listener, place));
            }
            Err(error) => {
                let trouble = listen::why_not(&self.config.listen, &error);
                if self.status.borrow().http.trouble.as_ref() != Some(&trouble) {
                    warn!("no HTTP: {trouble}; the queue goes on, and it is tried again");
                }
                self.tell(None, Some(trouble));
            }
        }
    }

    fn tell_scarcity(&self, scarcity: Option<String>) {
        if let Some(told) = &scarcity {
            warn!("{told}");
        }
        self.status.send_modify(|status| status.http.scarcity = scarcity);
    }

    fn tell(&self, url: Option<String>, trouble: Option<String>) {
        self.status.send_modify(|status| {
            status.http.url = url;
            status.http.trouble = trouble;
        });
    }
}

/// All routes, behind the guard.
fn router(state: FaceState, guard: Guard) -> Router {
    let requests = Requests::new();
    Router::new()
        .nest("/api/v1", api::routes())
        .nest("/v1", openai::routes())
        .nest("/sdapi/v1", sdapi::routes())
        .merge(page::routes())
        .route("/mcp", post(assistant::assistant))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_so)
        .with_state(state.clone())
        .route("/metrics", get(metrics::metrics).with_state((state, requests.clone())))
        .layer(middleware::from_fn_with_state(requests, metrics::count))
        // Bodies are read within limits of their own, see `body`.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .layer(middleware::from_fn(problem_answer::in_the_form_of_its_api))
}

async fn nothing_here() -> HttpProblem {
    HttpProblem::not_found("there is nothing here")
}

async fn not_so() -> HttpProblem {
    HttpProblem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "not by this method")
}
