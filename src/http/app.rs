//! What all requests share.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::limits::HttpLimits;
use super::problem::HttpProblem;
use super::recent_events::{RecentEvents, SentEvent};
use super::upcoming::UpcomingCache;
use super::waited_jobs::WaitedJobs;
use crate::config::{Config, LiveConfig};
use crate::mcp;
use crate::output::KnownPictures;
use crate::queue::{Queue, QueueCapabilities, Upcoming};
use crate::status::{RenderStatus, Status, WorkerWish};
use crate::store::Store;
use crate::thumbnails::Thumbnails;

/// So many calls wait for their pictures at once; their clients would only pile up.
const WAITING_MAX: usize = 8;

/// So many zip files are written at once: each reads the disk as fast as its client takes it.
const ARCHIVES_MAX: usize = 2;

/// So many requests of language models are answered at once; most of them wait for pictures.
const ASSISTANTS_MAX: usize = 16;

/// What the face has from its daemon, for all requests.
#[derive(Clone)]
pub struct FaceState {
    shared: Arc<Shared>,
}

/// The queue and its daemon, for whoever answers one request: by the configuration as it stood when
/// the request came.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
    config: Arc<Config>,
}

impl FromRef<FaceState> for App {
    fn from_ref(state: &FaceState) -> App {
        state.app()
    }
}

struct Shared {
    config: LiveConfig,
    /// Open beside the daemon's own: a long answer takes no connection from the dispatcher.
    store: Arc<Store>,
    status: watch::Sender<Status>,
    /// Told when the daemon ends.
    stop: CancellationToken,
    waiting: Arc<Semaphore>,
    /// Held while a job is taken in for a call, and while one is ended: so none is ended that
    /// somebody has just begun to wait for.
    waited_jobs: Mutex<WaitedJobs>,
    streams: Arc<Semaphore>,
    limits: HttpLimits,
    archives: Arc<Semaphore>,
    assistants: Arc<Semaphore>,
    /// One is made at a time, so that a page of many takes no more than one core.
    thumbnails: Arc<Mutex<Thumbnails>>,
    pictures: Arc<KnownPictures>,
    /// Found out by one at a time, for all who ask.
    upcoming: Mutex<UpcomingCache>,
    events: Mutex<RecentEvents>,
}

impl FaceState {
    pub fn new(
        config: LiveConfig,
        store: Store,
        limits: HttpLimits,
        status: watch::Sender<Status>,
        stop: CancellationToken,
    ) -> FaceState {
        let slots = |max| Arc::new(Semaphore::new(max));
        let thumbnails = Arc::new(Mutex::new(Thumbnails::new(&config.now().thumbnails_path())));
        let shared = Shared {
            config,
            store: Arc::new(store),
            status,
            stop,
            waiting: slots(WAITING_MAX),
            waited_jobs: Mutex::default(),
            streams: slots(limits.streams),
            limits,
            archives: slots(ARCHIVES_MAX),
            assistants: slots(ASSISTANTS_MAX),
            thumbnails,
            pictures: Arc::default(),
            upcoming: Mutex::default(),
            events: Mutex::default(),
        };
        FaceState { shared: Arc::new(shared) }
    }

    /// For a request that comes now.
    pub fn app(&self) -> App {
        App { shared: self.shared.clone(), config: self.shared.config.now() }
    }

    /// Ends the connections to the database, once nobody is answered any more.
    pub async fn close(self) {
        if let Some(shared) = Arc::into_inner(self.shared)
            && let Some(store) = Arc::into_inner(shared.store)
        {
            store.close().await;
        }
    }
}

impl App {
    /// The daemon's end, for whoever waits.
    pub fn stop(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// A place among those who wait for their pictures.
    pub fn waiting_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        slot(&self.shared.waiting, "calls wait for their pictures", WAITING_MAX)
    }

    /// What calls wait for.
    pub fn waited_jobs(&self) -> &Mutex<WaitedJobs> {
        &self.shared.waited_jobs
    }

    /// A place among those who follow what happens.
    pub fn stream_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        let Shared { streams, limits, .. } = &*self.shared;
        slot(streams, "streams of events are followed", limits.streams)
    }

    /// A place among those to whom zip files are written.
    pub fn archive_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        slot(&self.shared.archives, "zip files are being sent", ARCHIVES_MAX)
    }

    /// A place among the requests of language models.
    pub fn assistant_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        slot(&self.shared.assistants, "requests of language models are answered", ASSISTANTS_MAX)
    }

    /// What answers language models.
    pub fn assistant(&self) -> mcp::HttpService {
        let Shared { store, stop, .. } = &*self.shared;
        mcp::over_http(self.config.clone(), store.clone(), stop.clone())
    }

    /// How many streams of events are followed.
    pub fn streams(&self) -> i64 {
        let Shared { streams, limits, .. } = &*self.shared;
        (limits.streams - streams.available_permits()) as i64
    }

    /// What the daemon does, whenever it changes.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Tells the dispatcher what is wanted of the worker; it acts on it once nothing is rendered.
    pub fn wish(&self, wish: WorkerWish) {
        self.shared.status.send_modify(|status| status.wish = Some(wish));
    }

    pub fn thumbnails(&self) -> &Arc<Mutex<Thumbnails>> {
        &self.shared.thumbnails
    }

    /// Pictures that are still what was written.
    pub fn pictures(&self) -> &Arc<KnownPictures> {
        &self.shared.pictures
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The queue, as every face sees it.
    pub fn queue(&self) -> Queue<'_> {
        Queue::of(&self.config, self.shared.store.clone())
    }

    /// What can be asked of the queue: files of the model say it.
    pub async fn capabilities(&self) -> Result<QueueCapabilities, HttpProblem> {
        let asked = self.clone();
        Ok(blocking(move || asked.queue().capabilities()).await??)
    }

    /// What comes next, perhaps as it was some seconds ago.
    pub async fn upcoming(&self) -> Result<Arc<Upcoming>, HttpProblem> {
        Ok(self.shared.upcoming.lock().await.get(&self.queue()).await?)
    }

    /// The first entries of the log after the one with this id.
    pub async fn events_after(&self, id: i64) -> Result<Vec<SentEvent>, HttpProblem> {
        Ok(self.shared.events.lock().await.after(&self.shared.store, id).await?)
    }

    /// What is being made, as it is sent to all who follow.
    pub async fn step(&self) -> Arc<str> {
        self.shared.events.lock().await.step(&self.shared.status.borrow().render)
    }

    /// What the worker takes of its device, as it is sent to all who follow.
    pub async fn memory(&self) -> Arc<str> {
        self.shared.events.lock().await.memory(&self.shared.status.borrow().worker)
    }

    /// Which preview there is of what is being made, as it is sent to all who follow.
    pub async fn preview(&self, render: &RenderStatus) -> Arc<str> {
        let folder = self.config.previews_path();
        self.shared.events.lock().await.preview(&folder, render).await
    }

    /// What the daemon is doing now.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }
}

fn slot(
    slots: &Arc<Semaphore>,
    what: &str,
    max: usize,
) -> Result<OwnedSemaphorePermit, HttpProblem> {
    slots.clone().try_acquire_owned().map_err(|_| {
        HttpProblem::later(format!("{max} {what} already, which are all there may be"))
    })
}
