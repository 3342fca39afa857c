//! The queue as its users see it: what they may ask, answered in types.
//!
//! Every face shows these answers in its own way (the command line as text or JSON), and none
//! decides anything beyond them. Answers are serialised as they are, and hold nothing of a
//! terminal.

mod accepted;
mod agreement;
mod answers;
mod axes;
mod begin;
mod capabilities;
mod check;
pub mod control;
pub mod copies;
mod edit;
mod fit;
mod fitting;
mod forecast;
mod foresight;
mod models;
mod obstacle;
mod order;
mod outlook;
mod pace;
mod patience;
mod prompt_length;
mod prune;
pub mod replay;
mod request;
mod retry;
mod room;
mod settings;
pub mod sheet;
mod show;
mod star;
mod status;
mod submit;
mod submitted;
mod timing;
mod upcoming;
mod variety;
pub mod verify;
mod wait;
mod wish;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::accepted::accepted_ids;
pub use self::answers::{ErrorAnswer, ErrorFacts, ErrorWord, FileProblem};
pub use self::begin::{begin_history, begun_anew, check_present, note_beginning, saved_database};
pub use self::capabilities::QueueCapabilities;
pub use self::check::{CheckedJob, JobMistakes, STANDARD_INPUT, beginning, check};
pub use self::control::Which;
pub use self::copies::{Restored, restore};
pub use self::edit::Edited;
pub use self::fit::{
    BusTime, FitAnswer, FitEstimate, LeastMemory, Seen, TABLE_CARDS_GIB, UsualTable, fit,
    fit_table, usual_table,
};
pub use self::fitting::FitQuestion;
pub use self::forecast::{Forecast, SizeForecast, forecast};
pub use self::foresight::{Foreseen, foresee};
pub use self::models::{
    ListedModel, VerifiedModel, list_models, model_called, remove_model, verify_model,
};
pub use self::obstacle::{Obstacle, obstacle};
pub use self::outlook::{ExpectedWork, JobLeft, Outlook, job_left};
pub use self::patience::Delay;
pub use self::prompt_length::{PromptLength, longest_prompt};
pub use self::prune::{PruneRequest, Pruned, sweep_inputs};
pub use self::request::ApiJob;
pub use self::retry::Retries;
pub use self::room::FolderRoom;
pub use self::show::{Shown, Waited, card_use};
pub use self::star::StarAnswer;
pub use self::status::{JobsFolder, OtherFile, QueueStatus, queue_status, status_of};
pub use self::submit::{hand_over, has_daemon, submit, submit_wish};
pub use self::submitted::{SizedPictures, Submitted};
pub use self::upcoming::Upcoming;
pub use self::variety::Varying;
pub use self::wait::{Activity, JobProgress, Summary};
pub use self::wish::{Given, Wish, option_of};
use crate::access;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::hub::HubError;
use crate::instance::{InstanceLock, LockError};
use crate::store::{self, Access, Store, StoreError};

/// The queue of one configuration, for one of its users.
pub struct Queue<'c> {
    config: &'c Config,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl<'c> Queue<'c> {
    /// The queue as the daemon left it; the daemon need not run. Where its database is lost, the
    /// error says so.
    pub async fn open(config: &'c Config) -> store::Result<Queue<'c>> {
        check_present(config)?;
        // Before: a daemon that ends meanwhile empties its log under whoever has another index.
        let noted = InstanceLock::noted(&config.state);
        let store = Store::open(&config.database_path(), Access::Client).await?;
        if noted.is_some_and(|inodes| inodes != store.inodes()) {
            return Err(StoreError::Starved(OTHER_FILES.to_owned()));
        }
        Ok(Queue { config, store: Arc::new(store), clock: Arc::new(SystemClock) })
    }

    /// As [`Queue::open`]; before the first start, while there is no database, the empty queue that
    /// it will be. For questions, and for changes of what is there.
    pub async fn open_or_empty(config: &'c Config) -> store::Result<Queue<'c>> {
        check_present(config)?;
        match Store::is_missing(&config.database_path()) {
            true => Ok(Queue::of(config, Arc::new(Store::empty().await?))),
            false => Queue::open(config).await,
        }
    }

    /// The queue whose database is open as `store` already.
    pub fn of(config: &'c Config, store: Arc<Store>) -> Queue<'c> {
        Queue { config, store, clock: Arc::new(SystemClock) }
    }

    /// What is recorded: jobs, pictures, attempts, rejected files.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// Whoever opens a database from which the log or its index was taken away makes new ones. A daemon
/// that has the former ones open would never see what is written then.
const OTHER_FILES: &str = "a file of it was removed or replaced under the daemon, which notices \
                           that within seconds, saves what it has and ends";

/// Why there is no answer, or nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// For whoever asks to mend: the job's text.
    #[error("{0}")]
    Mistakes(JobMistakes),
    /// For whoever asks to mend: options and lists of prompts, each named.
    #[error("{0}")]
    WrongWish(String),
    /// The question lacks something, or asks for what cannot be; what would be right.
    #[error("{0}")]
    WrongQuestion(String),
    /// What is asked needs a daemon, and none runs.
    #[error("{0}")]
    NoDaemon(String),
    /// The question has no answer, and why.
    #[error("{0}")]
    NoAnswer(String),
    #[error("cannot hand a job over to {}: {}", jobs.display(), access::told(jobs, source))]
    Folder { jobs: PathBuf, source: io::Error },
    /// A daemon runs, but has not dealt with the file for half a minute.
    #[error("{file} waits in {jobs}: {why}")]
    NotTaken { file: String, jobs: String, why: String },
    #[error(
        "{what}: no model of daemon.toml, no folder of models/ and no path is called so; {help}"
    )]
    NoModel { what: String, help: String },
    #[error("{}: {}", path.display(), access::told(path, source))]
    File { path: PathBuf, source: io::Error },
    /// A backup that cannot be put back; nothing was changed.
    #[error("{file} is not put back: {source}")]
    NoBackup { file: String, source: StoreError },
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
