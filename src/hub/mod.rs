//! Models from hubs: found, fetched over a network that fails, and accepted only when their hashes
//! are right.
//!
//! The crate `hf-hub` has neither resumption nor a check of hashes, knows no ModelScope, and brings
//! over three hundred crates.

mod answer;
mod caches;
mod environment;
mod error;
mod family;
mod fault;
mod fetch;
mod fetched;
mod http;
mod huggingface;
mod modelscope;
mod offline;
mod partial;
mod places;
mod preset;
mod progress;
mod ranges;
mod record;
mod remove;
mod repository;
mod transfer;
mod verify;

pub use self::environment::HubEnvironment;
pub use self::error::HubError;
pub use self::fetch::{FetchWish, fetch};
pub use self::fetched::{Fetched, FileSource};
pub use self::preset::{ModelSource, PRESETS, gigabytes};
pub use self::progress::{FetchActivity, FetchProgress};
pub use self::record::FetchRecord;
pub use self::remove::{RemovedModel, remove_fetched};
pub use self::repository::HubKind;
pub use self::verify::{FileState, VerifiedFile, fetched_at, files_of_other_length, verify_files};
