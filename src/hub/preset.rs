//! Which files of which repository make a model.

use super::error::HubError;
use super::repository::{
    HubKind, PromisedHash, RepoFile, Repository, is_plain, is_repository_name,
};
use crate::engine::provenance::TURBO_INT8_CONVROT;

/// The names that stand for models.
pub const PRESETS: [&str; 3] = ["turbo", "turbo-int8", "base"];

/// Single files of which so many are named, when the user is asked which.
const NAMED_MAX: usize = 40;
/// The largest repository that is taken has fewer files for us.
const FILES_MAX: usize = 200;

/// The revision of which the pinned hashes are.
const COMFY_TURBO: &str = "d24c4cf2a0cd98a42f23467e27e3d76ee9438b8e";
const TURBO_BF16: [PinnedFile; 3] = [
    ("diffusion_models/z_image_turbo_bf16.safetensors", None),
    ("text_encoders/qwen_3_4b.safetensors", None),
    VAE,
];
const TURBO_INT8: [PinnedFile; 3] = [
    ("diffusion_models/z_image_turbo_int8_convrot.safetensors", Some(TURBO_INT8_CONVROT.sha256)),
    (
        "text_encoders/qwen_3_4b_fp8_mixed.safetensors",
        Some("72450b19758172c5a7273cf7de729d1c17e7f434a104a00167624cba94f68f15"),
    ),
    VAE,
];
const VAE: PinnedFile = (
    "vae/ae.safetensors",
    Some("afc8e28272cd15db3919bacdb6918ce9c1ed22e96cb12c4d5ed0fba823529e38"),
);

/// A file below `split_files/`, and its SHA-256 where it is known beforehand.
type PinnedFile = (&'static str, Option<&'static str>);

/// Where ComfyUI's repositories keep single files.
const SPLIT: &str = "split_files/";
/// What makes a repository a whole model.
pub const INDEX: &str = "model_index.json";
/// Its folders with weights.
const PARTS: [&str; 3] = ["transformer", "text_encoder", "vae"];

/// A model to be fetched: where it is, which files, and how its folder is called.
#[derive(Clone, Debug)]
pub struct ModelSource {
    pub hub: HubKind,
    /// `OWNER/NAME`.
    pub repository: String,
    pub revision: String,
    pub folder_name: String,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    /// These files below `split_files/`; their hashes count at the pinned revision only.
    Split { files: &'static [PinnedFile], is_pinned: bool },
    /// What a pipeline of diffusers needs.
    Pipeline,
    /// What the user named.
    Named(Vec<String>),
}

/// A file that was chosen, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenFile {
    pub file: RepoFile,
    /// Relative to the model's folder.
    pub place: String,
}

impl ModelSource {
    /// What `turbo`, `turbo-int8`, `base` or `OWNER/NAME` means.
    pub fn of(
        what: &str,
        hub: Option<HubKind>,
        revision: Option<&str>,
        files: &[String],
    ) -> Result<ModelSource, HubError> {
        let hub = hub.unwrap_or(HubKind::HuggingFace);
        let (repository, folder_name, choice) = match (what, hub) {
            ("turbo", HubKind::HuggingFace) => comfy("Z-Image-Turbo", &TURBO_BF16, revision),
            ("turbo-int8", HubKind::HuggingFace) => {
                comfy("Z-Image-Turbo-int8", &TURBO_INT8, revision)
            }
            ("turbo-int8", HubKind::ModelScope) => {
                let told =
                    "turbo-int8 is known on Hugging Face only; leave --from out, or fetch turbo";
                return Err(HubError::Unclear(told.to_owned()));
            }
            ("turbo", _) => ("Tongyi-MAI/Z-Image-Turbo", "Z-Image-Turbo", Choice::Pipeline),
            ("base", _) => ("Tongyi-MAI/Z-Image", "Z-Image", Choice::Pipeline),
            (name, _) if is_repository_name(name) => {
                let folder = name.rsplit_once('/').map_or(name, |(_, folder)| folder);
                (name, folder, Choice::Pipeline)
            }
            _ => return Err(unknown(what)),
        };
        let choice = if files.is_empty() { choice } else { Choice::Named(files.to_vec()) };
        let default = match (&choice, hub) {
            (Choice::Split { is_pinned: true, .. }, _) => COMFY_TURBO,
            (_, HubKind::HuggingFace) => "main",
            (_, HubKind::ModelScope) => "master",
        };
        let revision = revision.unwrap_or(default).to_owned();
        let (repository, folder_name) = (repository.to_owned(), folder_name.to_owned());
        Ok(ModelSource { hub, repository, revision, folder_name, choice })
    }

    /// Whether it is a whole pipeline, which says itself what it is.
    pub fn is_pipeline(&self) -> bool {
        matches!(self.choice, Choice::Pipeline)
    }

    /// The files of the repository that make the model.
    pub fn choose(&self, repository: &Repository) -> Result<Vec<ChosenFile>, HubError> {
        let chosen = match &self.choice {
            Choice::Split { files, is_pinned } => {
                files.iter().map(|file| split(repository, *file, *is_pinned)).collect()
            }
            Choice::Named(names) => names.iter().map(|name| named(repository, name)).collect(),
            Choice::Pipeline => pipeline(repository),
        };
        let chosen: Vec<ChosenFile> = chosen?;
        let odd = chosen.iter().find(|chosen| !is_plain(&chosen.file.path));
        match odd {
            Some(odd) => Err(refused(repository, &format!("has the odd path {:?}", odd.file.path))),
            None if chosen.len() > FILES_MAX => {
                Err(refused(repository, &format!("has {} files of the model", chosen.len())))
            }
            None => Ok(chosen),
        }
    }
}

fn comfy(
    folder: &'static str,
    files: &'static [PinnedFile],
    revision: Option<&str>,
) -> (&'static str, &'static str, Choice) {
    let is_pinned = revision.is_none_or(|revision| revision == COMFY_TURBO);
    ("Comfy-Org/z_image_turbo", folder, Choice::Split { files, is_pinned })
}

fn unknown(what: &str) -> HubError {
    let near = PRESETS.into_iter().find(|name| strsim::levenshtein(name, what) <= 2);
    let meant = near.map_or(String::new(), |name| format!("; did you mean {name}?"));
    HubError::Unclear(format!(
        "'{what}' is neither turbo, turbo-int8 nor base, nor the OWNER/NAME of a repository{meant}"
    ))
}

fn refused(repository: &Repository, what: &str) -> HubError {
    let Repository { hub, name, revision, .. } = repository;
    HubError::Refused(format!("{name} on {} (revision {revision}) {what}", hub.title()))
}

fn find<'a>(repository: &'a Repository, path: &str) -> Option<&'a RepoFile> {
    repository.files.iter().find(|file| file.path == path)
}

fn split(
    repository: &Repository,
    (place, sha256): PinnedFile,
    is_pinned: bool,
) -> Result<ChosenFile, HubError> {
    let path = format!("{SPLIT}{place}");
    let Some(file) = find(repository, &path) else {
        return Err(refused(repository, &format!("has no {path}")));
    };
    let known = sha256.and_then(PromisedHash::parse).filter(|_| is_pinned);
    if known.is_some_and(|known| known != file.hash) {
        let found = file.hash.digits();
        return Err(refused(repository, &format!("lists another {path} than is known: {found}")));
    }
    Ok(ChosenFile { file: file.clone(), place: place.to_owned() })
}

fn named(repository: &Repository, name: &str) -> Result<ChosenFile, HubError> {
    let ends_so = |file: &&RepoFile| file.path.rsplit('/').next() == Some(name);
    let by_path = find(repository, name);
    match by_path.or_else(|| repository.files.iter().find(ends_so)) {
        Some(file) => {
            let place = file.path.strip_prefix(SPLIT).unwrap_or(&file.path).to_owned();
            Ok(ChosenFile { file: file.clone(), place })
        }
        None => Err(refused(repository, &format!("has no file {name}{}", listed(repository)))),
    }
}

/// Only what is read: no pickled weights, no second precision, no pictures.
fn pipeline(repository: &Repository) -> Result<Vec<ChosenFile>, HubError> {
    if find(repository, INDEX).is_none() {
        return Err(which(repository));
    }
    let mut paths = vec![INDEX.to_owned(), "scheduler/scheduler_config.json".to_owned()];
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        paths.push(format!("tokenizer/{name}"));
    }
    let mut chosen: Vec<ChosenFile> = Vec::new();
    for part in PARTS {
        paths.push(format!("{part}/config.json"));
        let weights = weights(repository, part);
        if weights.is_empty() {
            return Err(refused(repository, &format!("has no safetensors weights in {part}/")));
        }
        paths.extend(weights);
    }
    for path in paths {
        let Some(file) = find(repository, &path) else {
            return Err(refused(repository, &format!("has no {path}")));
        };
        chosen.push(ChosenFile { file: file.clone(), place: path });
    }
    Ok(chosen)
}

/// The weights of a part: the shards of its index with the index, else the one file.
fn weights(repository: &Repository, part: &str) -> Vec<String> {
    for stem in ["diffusion_pytorch_model", "model"] {
        let whole = format!("{part}/{stem}.safetensors");
        let index = format!("{whole}.index.json");
        if find(repository, &index).is_some() {
            let shard = format!("{part}/{stem}-");
            let is_shard = |path: &String| {
                let rest =
                    path.strip_prefix(&shard).and_then(|rest| rest.strip_suffix(".safetensors"));
                rest.is_some_and(|rest| !rest.contains('.'))
            };
            let paths = repository.files.iter().map(|file| file.path.clone());
            return paths.filter(is_shard).chain([index]).collect();
        }
        if find(repository, &whole).is_some() {
            return vec![whole];
        }
    }
    Vec::new()
}

/// Asks which file is meant, of a repository of single ones.
fn which(repository: &Repository) -> HubError {
    let list = listed(repository);
    if list.is_empty() {
        return refused(repository, "has no model_index.json and no weights: it is no model");
    }
    let name = &repository.name;
    HubError::Unclear(format!(
        "{name} is no whole model, but holds single files; say which, more than once where a model \
         has several: zimaged model fetch {name} --file NAME{list}"
    ))
}

/// The single files of weights, with their sizes, a line each.
fn listed(repository: &Repository) -> String {
    let is_weights =
        |file: &&RepoFile| file.path.ends_with(".safetensors") || file.path.ends_with(".gguf");
    let weights: Vec<&RepoFile> = repository.files.iter().filter(is_weights).collect();
    let line = |file: &&RepoFile| format!("\n  {}  {}", file.path, gigabytes(file.bytes));
    let mut lines: String = weights.iter().take(NAMED_MAX).map(line).collect();
    if weights.len() > NAMED_MAX {
        lines += &format!("\n  and {} more", weights.len() - NAMED_MAX);
    }
    lines
}

/// Bytes as hubs count them: `12.31 GB`, `3.2 MB`.
pub fn gigabytes(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} kB", bytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the hub lists at the revision that is known, with another hash for `changed`.
    fn listing(source: &ModelSource, files: &[PinnedFile], changed: Option<&str>) -> Repository {
        let file = |(place, sha256): &PinnedFile| {
            let other = (changed == Some(place)).then_some("0".repeat(64));
            let unknown = "5a".repeat(32);
            let digits = other.unwrap_or_else(|| sha256.unwrap_or(&unknown).to_owned());
            let hash = PromisedHash::parse(&digits).unwrap();
            RepoFile { path: format!("{SPLIT}{place}"), bytes: 7, hash }
        };
        let (hub, revision) = (source.hub, source.revision.clone());
        let files = files.iter().map(file).collect();
        Repository { hub, name: source.repository.clone(), revision, files }
    }

    #[test]
    fn what_the_readme_says_brings_the_files_that_are_known_and_refuses_every_other() {
        for (name, files) in [("turbo", TURBO_BF16), ("turbo-int8", TURBO_INT8)] {
            let source = ModelSource::of(name, None, None, &[]).unwrap();
            assert_eq!(source.repository, "Comfy-Org/z_image_turbo");
            assert_eq!(source.revision, COMFY_TURBO, "{name} has the revision of its hashes");
            let chosen = source.choose(&listing(&source, &files, None)).unwrap();
            let places: Vec<&str> = chosen.iter().map(|chosen| chosen.place.as_str()).collect();
            assert_eq!(places, files.map(|(place, _)| place));
            for (place, sha256) in files {
                let changed = source.choose(&listing(&source, &files, Some(place)));
                match sha256 {
                    Some(_) => {
                        let told = changed.unwrap_err().to_string();
                        let expected = format!("lists another {SPLIT}{place} than is known");
                        assert!(told.contains(&expected), "{told}");
                    }
                    None => assert!(changed.is_ok(), "the hub's word counts for {place}"),
                }
            }
        }
    }

    #[test]
    fn at_another_revision_only_the_hubs_hashes_count() {
        let source = ModelSource::of("turbo-int8", None, Some("main"), &[]).unwrap();
        let other = listing(&source, &TURBO_INT8, Some("vae/ae.safetensors"));
        assert_eq!(source.choose(&other).unwrap().len(), 3);
        let mut fewer = other;
        fewer.files.truncate(2);
        let told = source.choose(&fewer).unwrap_err().to_string();
        assert!(told.contains("has no split_files/vae/ae.safetensors"), "{told}");
    }
}
