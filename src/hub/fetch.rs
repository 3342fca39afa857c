//! A fetch from its beginning to its end: what is there, what other programs have, and the rest
//! from the hub.

use std::fs;
use std::path::PathBuf;

use super::environment::HubEnvironment;
use super::error::HubError;
use super::family::check_family;
use super::fetched::{Fetched, FetchedFile, FileSource};
use super::http::HttpClient;
use super::partial::Partial;
use super::places::{Places, bytes_of, make_folder};
use super::preset::{ChosenFile, INDEX, ModelSource, gigabytes};
use super::progress::FetchProgress;
use super::record::{FetchRecord, RecordedFile};
use super::repository::{HubKind, RepoFile, Repository};
use super::transfer::{TransferSource, transfer};
use super::{huggingface, modelscope, offline};
use crate::instance::FolderLock;

/// How often a file is fetched whose content turns out wrong.
const CONTENT_TRIES: u32 = 2;

/// What is to be fetched, and where to.
#[derive(Debug)]
pub struct FetchWish {
    pub source: ModelSource,
    /// The model's folder; made where it is missing.
    pub folder: PathBuf,
    /// Folders in which files are looked for, before those of the environment.
    pub look_in: Vec<PathBuf>,
}

/// A fetch under way.
struct Fetch<'a> {
    wish: &'a FetchWish,
    environment: &'a HubEnvironment,
    progress: &'a FetchProgress,
    client: HttpClient,
    repository: Repository,
    places: Places<'a>,
}

/// Fetches the model, or says with `dry_run` what that would mean. Files that are there, or that
/// another program has, do not come again; everything is hashed before it counts.
pub fn fetch(
    wish: &FetchWish,
    environment: &HubEnvironment,
    progress: &FetchProgress,
    dry_run: bool,
) -> Result<Fetched, HubError> {
    progress.tell(format!("asking {}", wish.source.hub.title()));
    let client = HttpClient::new(environment.silence_max, environment.certificates.as_deref())?;
    let (repository, chosen) = match environment.offline {
        Some(variable) => offline::known(&wish.source, environment, &wish.folder, variable)?,
        None => listed(wish, environment, &client, progress)?,
    };
    let look_in = wish.look_in.iter().chain(&environment.caches).cloned().collect();
    let places = Places { folder: &wish.folder, chosen, look_in, progress };
    progress.set_total(places.total_bytes());
    let fetch = Fetch { wish, environment, progress, client, repository, places };
    if let Some(index) = fetch.index() {
        check_family(&fetch.client, &fetch.address(index), fetch.token(), index, progress)
            .map_err(|error| about(&fetch.repository.name, error))?;
    }
    if dry_run { Ok(fetch.outlook()) } else { fetch.run() }
}

fn listed(
    wish: &FetchWish,
    environment: &HubEnvironment,
    client: &HttpClient,
    progress: &FetchProgress,
) -> Result<(Repository, Vec<ChosenFile>), HubError> {
    let ModelSource { hub, repository, revision, .. } = &wish.source;
    let list = match hub {
        HubKind::HuggingFace => huggingface::list,
        HubKind::ModelScope => modelscope::list,
    };
    let listed = list(client, environment.of_hub(*hub), repository, revision, progress);
    let repository = listed.map_err(|error| about(repository, error))?;
    let chosen = wish.source.choose(&repository)?;
    Ok((repository, chosen))
}

/// The error with the name that it is about.
fn about(name: &str, error: HubError) -> HubError {
    match error {
        HubError::Refused(told) => HubError::Refused(format!("{name}: {told}")),
        HubError::Passing(told) => HubError::Passing(format!("{name}: {told}")),
        other => other,
    }
}

impl Fetch<'_> {
    /// The file that says of what kind a whole pipeline is, where that can be asked.
    fn index(&self) -> Option<&RepoFile> {
        let is_asked = self.wish.source.is_pipeline() && self.environment.offline.is_none();
        let index = self.places.chosen.iter().find(|chosen| chosen.place == INDEX);
        index.filter(|_| is_asked).map(|chosen| &chosen.file)
    }

    fn address(&self, file: &RepoFile) -> String {
        let address = match self.repository.hub {
            HubKind::HuggingFace => huggingface::address,
            HubKind::ModelScope => modelscope::address,
        };
        address(self.environment.of_hub(self.repository.hub), &self.repository, &file.path)
    }

    fn token(&self) -> Option<&str> {
        self.environment.of_hub(self.repository.hub).token.as_deref()
    }

    /// What a fetch would do, by the lengths of files alone.
    fn outlook(&self) -> Fetched {
        let cached = self.places.cached(&self.places.chosen.iter().collect::<Vec<_>>());
        let file = |chosen: &ChosenFile| {
            let there = fs::metadata(self.places.place(chosen))
                .is_ok_and(|it| it.len() == chosen.file.bytes);
            let from = match there {
                true => FileSource::Here,
                false if cached.candidates(&chosen.file).next().is_some() => FileSource::Cache,
                false => FileSource::Hub,
            };
            let digits = chosen.file.hash.digits();
            let sha256 = (digits.len() == 64).then(|| digits.to_owned());
            FetchedFile { path: chosen.place.clone(), bytes: chosen.file.bytes, sha256, from }
        };
        let files: Vec<FetchedFile> = self.places.chosen.iter().map(file).collect();
        let of_hub = files.iter().filter(|file| file.from == FileSource::Hub);
        let received_bytes = of_hub.map(|file| file.bytes).sum();
        self.answer(files, received_bytes, true)
    }

    fn answer(&self, files: Vec<FetchedFile>, received_bytes: u64, dry_run: bool) -> Fetched {
        Fetched {
            folder: self.wish.folder.clone(),
            hub: self.repository.hub,
            repository: self.repository.name.clone(),
            revision: self.repository.revision.clone(),
            files,
            total_bytes: self.places.total_bytes(),
            received_bytes,
            dry_run,
        }
    }

    fn run(&self) -> Result<Fetched, HubError> {
        let folder = &self.wish.folder;
        make_folder(&self.places.partial_folder())?;
        let _lock = FolderLock::take(folder).map_err(HubError::Lock)?;
        let mut found = self.places.found_here()?;
        self.places.link_cached(&mut found)?;
        self.places.check_room(&found)?;
        let mut there_bytes = bytes_of(&self.places.chosen, &found);
        for (chosen, found) in self.places.chosen.iter().zip(&mut found) {
            if found.is_none() {
                *found = Some((self.download(chosen, there_bytes)?, FileSource::Hub));
                there_bytes += chosen.file.bytes;
                self.progress.set_done(there_bytes);
            }
        }
        let found = self.places.chosen.iter().zip(found.into_iter().flatten());
        let files: Vec<FetchedFile> = found
            .map(|(chosen, (sha256, from))| FetchedFile {
                path: chosen.place.clone(),
                bytes: chosen.file.bytes,
                sha256: Some(sha256),
                from,
            })
            .collect();
        self.write_record(&files)?;
        Ok(self.answer(files, self.progress.received_bytes(), false))
    }

    /// Fetches a file and puts it into its place; its SHA-256. A wrong content is thrown away.
    fn download(&self, chosen: &ChosenFile, before_bytes: u64) -> Result<String, HubError> {
        let (file, place) = (&chosen.file, self.places.place(chosen));
        if let Some(variable) = self.environment.offline {
            let told = format!("{variable} forbids requests, and {} is not here", chosen.place);
            return Err(HubError::Refused(told));
        }
        let mut found = String::new();
        for _ in 0..CONTENT_TRIES {
            self.progress.tell(format!("fetching {}", chosen.place));
            let (partial, done) = Partial::open(&self.places.partial_folder(), file)?;
            let source = TransferSource {
                client: &self.client,
                address: &self.address(file),
                token: self.token(),
                file,
                progress: self.progress,
                before_bytes,
            };
            let hash =
                transfer(source, &partial, done).map_err(|error| about(&file.path, error))?;
            match hash.finish(&file.hash) {
                Ok(sha256) => {
                    self.places.make_way(chosen)?;
                    partial.finish(&place)?;
                    return Ok(sha256);
                }
                Err(digits) => {
                    partial.discard()?;
                    found = digits;
                }
            }
        }
        Err(HubError::Wrong(format!(
            "{}: {CONTENT_TRIES} times {} came whose hash is {found}, where the hub promises {}; it was \
             thrown away. Something between here and the hub changes files, or the hub's copy is damaged",
            file.path,
            gigabytes(file.bytes),
            file.hash.digits()
        )))
    }

    /// Says that all is there, and removes what earlier runs left.
    fn write_record(&self, files: &[FetchedFile]) -> Result<(), HubError> {
        let recorded = files.iter().map(|file| RecordedFile {
            path: file.path.clone(),
            bytes: file.bytes,
            sha256: file.sha256.clone().unwrap_or_default(),
        });
        let record = FetchRecord {
            hub: self.repository.hub,
            repo: self.repository.name.clone(),
            revision: self.repository.revision.clone(),
            files: recorded.collect(),
        };
        record.write(&self.wish.folder)?;
        // What stays costs room, and no more.
        let _ = fs::remove_dir_all(self.places.partial_folder());
        Ok(())
    }
}
