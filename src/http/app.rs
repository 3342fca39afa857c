//! What all requests share.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::problem::HttpProblem;
use super::recent_events::{RecentEvents, SentEvent};
use super::upcoming::UpcomingCache;
use crate::config::Config;
use crate::mcp;
use crate::queue::{Queue, Upcoming};
use crate::status::{Status, WorkerWish};
use crate::store::Store;
use crate::thumbnails::Thumbnails;

/// So many calls wait for their pictures at once; their clients would only pile up.
const WAITING_MAX: usize = 8;

/// So many streams of events are followed at once.
const STREAMS_MAX: usize = 200;

/// So many zip files are written at once: each reads the disk as fast as its client takes it.
const ARCHIVES_MAX: usize = 2;

/// So many requests of language models are answered at once; most of them wait for pictures.
const ASSISTANTS_MAX: usize = 16;

/// The queue and its daemon, for whoever answers a request.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    /// Open beside the daemon's own: a long answer takes no connection from the dispatcher.
    store: Arc<Store>,
    status: watch::Sender<Status>,
    /// Told when the daemon ends.
    stop: CancellationToken,
    waiting: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    archives: Arc<Semaphore>,
    assistants: Arc<Semaphore>,
    /// One is made at a time, so that a page of many takes no more than one core.
    thumbnails: Arc<Mutex<Thumbnails>>,
    /// Found out by one at a time, for all who ask.
    upcoming: Mutex<UpcomingCache>,
    events: Mutex<RecentEvents>,
}

impl App {
    pub fn new(
        config: Config,
        store: Store,
        status: watch::Sender<Status>,
        stop: CancellationToken,
    ) -> App {
        let slots = |max| Arc::new(Semaphore::new(max));
        let thumbnails = Arc::new(Mutex::new(Thumbnails::new(&config.thumbnails_path())));
        let shared = Shared {
            config: Arc::new(config),
            store: Arc::new(store),
            status,
            stop,
            waiting: slots(WAITING_MAX),
            streams: slots(STREAMS_MAX),
            archives: slots(ARCHIVES_MAX),
            assistants: slots(ASSISTANTS_MAX),
            thumbnails,
            upcoming: Mutex::default(),
            events: Mutex::default(),
        };
        App { shared: Arc::new(shared) }
    }

    /// The daemon's end, for whoever waits.
    pub fn stop(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// A place among those who wait for their pictures.
    pub fn waiting_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        slot(&self.shared.waiting, "calls wait for their pictures", WAITING_MAX)
    }

    /// A place among those who follow what happens.
    pub fn stream_slot(&self) -> Result<OwnedSemaphorePermit, HttpProblem> {
        slot(&self.shared.streams, "streams of events are followed", STREAMS_MAX)
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
        let Shared { config, store, stop, .. } = &*self.shared;
        mcp::over_http(config.clone(), store.clone(), stop.clone())
    }

    /// How many streams of events are followed.
    pub fn streams(&self) -> i64 {
        (STREAMS_MAX - self.shared.streams.available_permits()) as i64
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

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The queue, as every face sees it.
    pub fn queue(&self) -> Queue<'_> {
        Queue::of(&self.shared.config, self.shared.store.clone())
    }

    /// What comes next, perhaps as it was some seconds ago.
    pub async fn upcoming(&self) -> Result<Arc<Upcoming>, HttpProblem> {
        Ok(self.shared.upcoming.lock().await.get(&self.queue()).await?)
    }

    /// The first entries of the log after the one with this id.
    pub async fn events_after(&self, id: i64) -> Result<Vec<SentEvent>, HttpProblem> {
        Ok(self.shared.events.lock().await.after(&self.shared.store, id).await?)
    }

    /// What the daemon is doing now.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
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

fn slot(
    slots: &Arc<Semaphore>,
    what: &str,
    max: usize,
) -> Result<OwnedSemaphorePermit, HttpProblem> {
    slots.clone().try_acquire_owned().map_err(|_| {
        HttpProblem::later(format!("{max} {what} already, which are all there may be"))
    })
}
