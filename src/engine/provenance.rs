//! What the weights of a model's parts are and where they come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::model_place::ModelKind;
use super::weight_files::WeightFiles;
use crate::files;

/// The record that a fetch writes into the folder of a model when all of it is there.
pub const FETCH_RECORD: &str = "zimaged-fetched.json";

/// No record is longer.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A file of weights lies at most so many folders below the record:
/// `split_files/diffusion_models/name`.
const DEPTH_MAX: usize = 3;

/// A published file with a transformer, of which the training is known.
#[derive(Clone, Copy, Debug)]
pub struct PublishedTransformer {
    /// In lower-case hex.
    pub sha256: &'static str,
    pub kind: ModelKind,
}

/// `z_image_turbo_int8_convrot.safetensors` of Comfy-Org/z_image_turbo.
pub const TURBO_INT8_CONVROT: PublishedTransformer = PublishedTransformer {
    sha256: "be517ebd47c912a5626a588e1aeea43e6be4a43c0cdcd2b48a2a780d9f358635",
    kind: ModelKind::Turbo,
};

/// Those whose content is known beforehand.
pub const PUBLISHED: [PublishedTransformer; 1] = [TURBO_INT8_CONVROT];

/// A part of the model that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Transformer,
    TextEncoder,
    Vae,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Transformer, Part::TextEncoder, Part::Vae];

    /// The word for it in configurations and messages.
    pub fn word(self) -> &'static str {
        match self {
            Part::Transformer => "transformer",
            Part::TextEncoder => "text encoder",
            Part::Vae => "VAE",
        }
    }
}

/// The files of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightPart {
    pub part: Part,
    pub files: WeightFiles,
}

/// How long the weights of a part took to come to where the device computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLoad {
    pub part: Part,
    pub load_ms: u64,
}

/// What the weights of one part are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PartOrigin {
    /// Which part.
    pub part: Part,
    /// The SHA-256 of its file; of several files, that of their list as `sha256sum` prints it. Null
    /// until it is known.
    pub sha256: Option<String>,
    /// Where it was fetched from; null where zimaged did not fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PartSource>,
}

/// Where a part was fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PartSource {
    /// "hf" or "modelscope".
    pub hub: String,
    /// OWNER/NAME.
    pub repository: String,
    /// The commit where the hub tells it, else the branch.
    pub revision: String,
}

/// As far as it is needed here; `hub::record` writes it.
#[derive(Deserialize)]
struct Record {
    hub: String,
    repo: String,
    revision: String,
    files: Vec<RecordFile>,
}

#[derive(Deserialize)]
struct RecordFile {
    path: PathBuf,
    bytes: u64,
    sha256: String,
}

/// A file of weights as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedWeights {
    pub source: PartSource,
    /// In lower-case hex.
    pub sha256: String,
}

impl FetchedWeights {
    /// What a record in a folder above it says of the file at `path`. `None` where there is none,
    /// or the file has changed since.
    pub fn of(path: &Path) -> Option<FetchedWeights> {
        path.ancestors().skip(1).take(DEPTH_MAX).find_map(|folder| recorded(folder, path))
    }
}

fn recorded(folder: &Path, path: &Path) -> Option<FetchedWeights> {
    let record_path = folder.join(FETCH_RECORD);
    let text = files::read_whole(&record_path, RECORD_BYTES_MAX).ok()?;
    let Record { hub, repo, revision, files } = serde_json::from_slice(&text).ok()?;
    let name = path.strip_prefix(folder).ok()?;
    let RecordFile { bytes, sha256, .. } = files.into_iter().find(|file| file.path == name)?;
    let is_unchanged =
        fs::metadata(path).ok()?.len() == bytes && modified(path)? <= modified(&record_path)?;
    let source = PartSource { hub, repository: repo, revision };
    is_unchanged.then_some(FetchedWeights { source, sha256 })
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

impl WeightPart {
    /// What the part is, of which the content has this hash. It comes from where all of its files
    /// do.
    pub fn origin(&self, sha256: Option<String>) -> PartOrigin {
        let sources = self.files.iter().map(|file| Some(FetchedWeights::of(&file.path)?.source));
        let sources: Option<Vec<PartSource>> = sources.collect();
        let source = sources.filter(|all| all.windows(2).all(|pair| pair[0] == pair[1]));
        PartOrigin {
            part: self.part,
            sha256,
            source: source.and_then(|all| all.into_iter().next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// A fetched file with its record.
    fn fetched(folder: &Path) -> PathBuf {
        let path = folder.join("vae/ae.safetensors");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "weights").unwrap();
        let record = r#"{"hub": "hf", "repo": "a/b", "revision": "c0ffee", "files":
            [{"path": "vae/ae.safetensors", "bytes": 7, "sha256": "5a"}]}"#;
        fs::write(folder.join(FETCH_RECORD), record).unwrap();
        path
    }

    #[test]
    fn a_fetched_file_is_known_by_the_record_above_it_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = fetched(folder.path());
        let known = FetchedWeights::of(&path).unwrap();
        assert_eq!((known.sha256.as_str(), known.source.revision.as_str()), ("5a", "c0ffee"));
        assert_eq!(FetchedWeights::of(&folder.path().join("other")), None);
        let later = SystemTime::now() + Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(FetchedWeights::of(&path), None, "it was written after the record");
    }

    #[test]
    fn a_part_comes_from_where_all_its_files_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = fetched(folder.path());
        let of = |paths: &[&Path]| {
            let paths = paths.iter().map(|path| path.to_path_buf());
            let files = WeightFiles::new(folder.path(), paths);
            WeightPart { part: Part::Vae, files }.origin(None).source
        };
        assert_eq!(of(&[&path]).unwrap().repository, "a/b");
        let own = folder.path().join("own.safetensors");
        fs::write(&own, "").unwrap();
        assert_eq!(of(&[&path, &own]), None);
    }
}
