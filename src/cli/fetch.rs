//! `zimaged model fetch`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch_bar::FetchBar;
use super::{Outcome, print, short, signals};
use crate::config::Config;
use crate::hub::{
    self, FetchProgress, FetchWish, Fetched, FileSource, HubEnvironment, HubError, HubKind,
    ModelSource, gigabytes,
};
use crate::spelling::count;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// How long the fetch may take to put its journal in order when it is stopped. It need not:
/// whatever ends it, the next one goes on.
const STOP_MAX: Duration = Duration::from_millis(700);

#[derive(clap::Args, Debug)]
pub(super) struct FetchArgs {
    /// turbo (bf16, 20.7 GB), turbo-int8 (12.2 GB), base (20.5 GB), or a repository's OWNER/NAME
    #[arg(value_name = "MODEL")]
    what: String,
    /// Where it is published
    #[arg(long, value_enum)]
    from: Option<HubWord>,
    /// A branch, a tag or a commit, in place of the newest or the known one
    #[arg(long)]
    revision: Option<String>,
    /// The model's folder, in place of one in models/
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Of a repository of single files: this one; may be given more than once
    #[arg(long = "file", value_name = "NAME")]
    files: Vec<String>,
    /// Look for files here, too, before they are fetched: a folder of ComfyUI's, another disk
    #[arg(long, value_name = "FOLDER")]
    look_in: Vec<PathBuf>,
    /// Fetch nothing; list the files with their sizes, and where they would come from
    #[arg(long)]
    dry_run: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum HubWord {
    Hf,
    Modelscope,
}

impl From<HubWord> for HubKind {
    fn from(word: HubWord) -> HubKind {
        match word {
            HubWord::Hf => HubKind::HuggingFace,
            HubWord::Modelscope => HubKind::ModelScope,
        }
    }
}

pub(super) async fn fetch(config: &Config, args: &FetchArgs, json: bool) -> Outcome {
    let hub = args.from.map(HubKind::from);
    let source = ModelSource::of(&args.what, hub, args.revision.as_deref(), &args.files)?;
    let models = config.models();
    let folder = match &args.to {
        Some(folder) => std::path::absolute(folder)?,
        None => models.join(&source.folder_name),
    };
    let bar = FetchBar::new(&source.folder_name);
    // Other models here may share files with it.
    let look_in = args.look_in.iter().cloned().chain([models]).collect();
    let wish = FetchWish { source, folder, look_in };
    let fetched = watched(wish, args.dry_run, bar, &signals::stop()?).await?;
    print::answer(&fetched, &told(&fetched), json)?;
    Ok(0)
}

/// Fetches in a thread of its own, and shows how far it is.
async fn watched(
    wish: FetchWish,
    dry_run: bool,
    mut bar: FetchBar,
    stop: &CancellationToken,
) -> Result<Fetched, HubError> {
    let environment = HubEnvironment::read()?;
    let progress = Arc::new(FetchProgress::default());
    let (sender, mut ended) = oneshot::channel();
    let of_thread = progress.clone();
    let started = thread::Builder::new().name("model fetch".to_owned()).spawn(move || {
        // Nobody waits any more where it was stopped.
        let _ = sender.send(hub::fetch(&wish, &environment, &of_thread, dry_run));
    });
    started.map_err(|error| HubError::Passing(format!("no thread can be started: {error}")))?;
    let fetched = loop {
        tokio::select! {
            fetched = &mut ended => break fetched,
            () = stop.cancelled() => {
                progress.stop();
                break timeout(STOP_MAX, ended).await.unwrap_or(Ok(Err(HubError::Stopped)));
            }
            () = sleep(LOOK) => bar.show(&progress),
        }
    };
    bar.end();
    // A thread that ended without an answer has panicked.
    fetched.unwrap_or_else(|_| Err(HubError::Passing("the fetch broke off".to_owned())))
}

fn told(fetched: &Fetched) -> String {
    let total = gigabytes(fetched.total_bytes);
    let files = count(fetched.files.len() as u64, "file");
    let from = format!("{} on {}", fetched.repository, fetched.hub.title());
    let folder = short(&fetched.folder);
    if fetched.dry_run {
        let list: String = fetched
            .files
            .iter()
            .map(|file| {
                let comes = where_from(file.from, "");
                format!("\n  {:>9}  {}{comes}", gigabytes(file.bytes), file.path)
            })
            .collect();
        let coming = gigabytes(fetched.received_bytes);
        return format!("{folder} would get {files}, {total}, of {from}; {coming} to fetch{list}");
    }
    let there = fetched.files.iter().filter(|file| file.from != FileSource::Hub);
    let list: String =
        there.map(|file| format!("\n  {}{}", file.path, where_from(file.from, "was "))).collect();
    format!(
        "{folder} is complete: {files}, {total}, of {from}{list}\nzimaged --model {folder} run uses \
         it; for good, say path = {folder:?} in [model] of daemon.toml"
    )
}

fn where_from(source: FileSource, was: &str) -> String {
    match source {
        FileSource::Hub => String::new(),
        FileSource::Here => format!(", {was}there already"),
        FileSource::Cache => format!(", {was}in another program's folder: linked"),
    }
}
