//! What all requests share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::queue::Queue;
use crate::status::Status;
use crate::store::Store;

/// The queue and its daemon, for whoever answers a request.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    /// Open beside the daemon's own: a long answer takes no connection from the dispatcher.
    store: Arc<Store>,
    status: watch::Receiver<Status>,
}

impl App {
    pub fn new(config: Config, store: Store, status: watch::Receiver<Status>) -> App {
        App { shared: Arc::new(Shared { config, store: Arc::new(store), status }) }
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
