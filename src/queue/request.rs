//! Jobs without a file: of this program's own commands, and of requests over HTTP. These are
//! checked as any other, but name no file of this machine: whoever may send one could read it so.

use std::path::Path;

use super::check::checked;
use super::submitted::{Submitted, TakenJob};
use super::{CheckedJob, JobMistakes, Queue, QueueError};
use crate::files;
use crate::inputs::{self, InputLimits, JobText};
use crate::intake::random_seed;
use crate::job::origin::{Api, Origin};
use crate::job::spec::inputs::{InputPlace, input_places};
use crate::problem::{Problem, printable};
use crate::store::{Accepted, NewJob};

/// A request that comes again so much later is meant as a new one.
const AGAIN_MS: i64 = 15 * 60 * 1000;

/// A job that is asked for over HTTP.
#[derive(Clone, Debug)]
pub struct ApiJob {
    pub api: Api,
    /// What the job is called in lists, and by `{name}` in the names of pictures.
    pub name: String,
    /// As in a job file. Pictures as input are called by their hashes, see [`Queue::keep_input`].
    pub text: String,
    /// What the sender calls the request: the same one, sent again, is the same job.
    pub key: Option<String>,
    /// Whether the sender says that it has sent the request before, and got no answer.
    pub is_again: bool,
}

impl Queue<'_> {
    /// Takes a job of a user of this machine in, under the `name` that it gives itself; answers the
    /// job's id. It is accepted when this returns, whether a daemon runs or not.
    pub async fn request(&self, name: &str, job: &CheckedJob) -> Result<i64, QueueError> {
        let text = &String::from_utf8_lossy(&job.content);
        let new = NewRequest { name, text, origin: Origin::Request, key: None, folder: None };
        Ok(self.take_request(new, job).await?.job_id)
    }

    /// What the job would be, or all that is wrong with it. Takes nothing in.
    pub async fn check_api_job(&self, job: &ApiJob) -> Result<CheckedJob, QueueError> {
        let ApiJob { name, text, .. } = job.clone();
        let config = self.config.clone();
        // It reads the model's description, and perhaps its tokenizer.
        let check = tokio::task::spawn_blocking(move || {
            refuse_files(&name, &text)?;
            let folder = config.inputs_path();
            checked(&config, &folder, (name, text.into_bytes()), &mut random_seed)
        });
        let checked = check.await.map_err(|error| QueueError::NoAnswer(error.to_string()))??;
        Ok(checked.foreseen(self.config, Some(self)).await)
    }

    /// Takes the job in. It is accepted when this returns. The second value is false where the very
    /// same request had been taken in before.
    pub async fn take_api_job(&self, job: &ApiJob) -> Result<(Submitted, bool), QueueError> {
        let checked = self.check_api_job(job).await?;
        let ApiJob { api, name, text, key, .. } = job;
        let (origin, folder) = (Origin::Http(*api), self.config.inputs_path());
        let new = NewRequest { name, text, origin, key: key.clone(), folder: Some(&folder) };
        let accepted = match self.sent_before(job).await? {
            Some(job_id) => Accepted { job_id, fresh: false },
            None => self.take_request(new, &checked).await?,
        };
        let stopped = checked.stopped.clone();
        let expected = match accepted.fresh {
            true => checked.expected,
            // It would come after itself.
            false => self.left_of(accepted.job_id).await?,
        };
        let jobs = vec![TakenJob { file: checked.name.clone(), job: accepted.job_id }];
        let submitted = Submitted { jobs, expected, stopped, ..Submitted::of(|| [&checked]) };
        Ok((submitted, accepted.fresh))
    }

    /// The job that the very same request has become: by its key or, where its sender says that it
    /// sends it again, a short while ago.
    pub async fn sent_before(&self, job: &ApiJob) -> Result<Option<i64>, QueueError> {
        let sha256 = files::sha256(&job.text);
        if let Some(key) = &job.key
            && let Some(known) = self.store.request_of_key(key, &sha256).await?
        {
            return Ok(Some(known));
        }
        if !job.is_again {
            return Ok(None);
        }
        let (origin, since_ms) = (Origin::Http(job.api), self.clock.now_ms() - AGAIN_MS);
        Ok(self.store.recent_request(origin, &sha256, since_ms).await?)
    }

    /// Keeps a picture for jobs that begin with it; answers the hash that they call it by.
    pub async fn keep_input(&self, content: Vec<u8>) -> Result<String, QueueError> {
        let path = self.config.inputs_path();
        let limits = InputLimits::from(&self.config.limits);
        let keep = tokio::task::spawn_blocking(move || {
            inputs::inspect(&content, limits)
                .map_err(|error| QueueError::WrongWish(format!("the picture: {error}")))?;
            inputs::keep(&path, &content).map_err(|source| QueueError::File { path, source })
        });
        keep.await.map_err(|error| QueueError::NoAnswer(error.to_string()))?
    }

    /// Takes a job in as it was checked, so that it has the seeds and times that its sender was
    /// told.
    async fn take_request(
        &self,
        new: NewRequest<'_>,
        checked: &CheckedJob,
    ) -> Result<Accepted, QueueError> {
        let NewRequest { name, text, origin, key, folder } = new;
        self.keep_pictures(checked, JobText { text, folder })?;
        let job = checked.resolved.job.clone();
        let new =
            NewJob { request_key: key, origin, ..NewJob::of_request(job, &printable(name), text) };
        let accepted = self.store.accept(&[new], self.clock.now_ms()).await?;
        Ok(accepted[0])
    }

    /// Keeps the pictures that a job begins with, which were only looked at so far.
    fn keep_pictures(&self, checked: &CheckedJob, from: JobText) -> Result<(), QueueError> {
        let path = self.config.inputs_path();
        let limits = InputLimits::from(&self.config.limits);
        let kept = inputs::keep_named(from, limits, &path)
            .map_err(|source| QueueError::File { path, source })?;
        let (name, content) = (&checked.name, &checked.content);
        let kept = kept.map_err(|problems| {
            let (name, content) = (name.clone(), content.clone());
            QueueError::Mistakes(JobMistakes { name, content, problems })
        })?;
        let recipes = checked.resolved.job.renders.iter().map(|render| &render.recipe);
        let mut hashes = recipes.flat_map(|recipe| [&recipe.init_image, &recipe.mask]);
        match hashes.all(|hash| hash.is_empty() || kept.values().any(|kept| kept == hash)) {
            true => Ok(()),
            false => Err(QueueError::NoAnswer(format!(
                "{name}: a picture has changed while the job was taken in; submit it again"
            ))),
        }
    }
}

/// A text that is to be a job.
struct NewRequest<'a> {
    name: &'a str,
    text: &'a str,
    origin: Origin,
    key: Option<String>,
    /// Where pictures in the text are kept, which names no other file; `None` for the words of a
    /// user of this machine, who may name what is there.
    folder: Option<&'a Path>,
}

/// Pictures as input are called by what they are kept as, and by nothing else.
fn refuse_files(name: &str, text: &str) -> Result<(), QueueError> {
    let is_hash = |path: &str| {
        path.len() == 64 && path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let refused = |found: InputPlace| {
        let message = format!("{}: a request names no file of this machine", found.key);
        let help = "send the picture itself, as data:image/png;base64,..., or first to \
                    /api/v1/inputs, and name it by the answer";
        let problem = Problem::at(text, found.place.start, message, Some(help.to_owned()));
        Problem { key: Some(found.key.to_owned()), ..problem }
    };
    let strangers = input_places(text).into_iter().filter(|found| !is_hash(&found.path));
    let problems: Vec<Problem> = strangers.map(refused).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(QueueError::Mistakes(JobMistakes {
            name: printable(name),
            content: text.into(),
            problems,
        })),
    }
}
