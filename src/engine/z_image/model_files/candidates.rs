//! Files that may be a part of a model, in the folders where people keep them.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::{PartFiles, is_whole};
use crate::engine::ModelError;
use crate::engine::z_image::checkpoint::Checkpoint;
use crate::engine::z_image::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::engine::z_image::names::{NamedTensors, Part, named};
use crate::engine::z_image::shapes::Tensors;

/// ComfyUI's folders of single files, in its `models` and in the repositories made for it.
const FOLDERS: [&str; 7] =
    ["diffusion_models", "unet", "checkpoints", "text_encoders", "clip", "vae", SPLIT];

/// The folder of these repositories that has the others.
const SPLIT: &str = "split_files";

/// How files of weights end.
const ENDS: [&str; 3] = ["safetensors", "sft", "gguf"];

/// What our own files of quantised matrices have in their names: they are no model by themselves.
const OWN: &str = "zimaged-q";

/// How deep folders are looked into, below one of [`FOLDERS`].
const DEPTH_MAX: usize = 3;

/// So many files are looked at.
const FILES_MAX: usize = 1000;

/// A part that is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Transformer,
    /// Its embeddings have this width.
    TextEncoder {
        width: usize,
    },
    /// Its latents have so many channels.
    Vae {
        channels: usize,
    },
}

impl Wanted {
    pub(super) fn part(self) -> Part {
        match self {
            Wanted::Transformer => Part::Transformer,
            Wanted::TextEncoder { .. } => Part::TextEncoder,
            Wanted::Vae { .. } => Part::Vae,
        }
    }

    /// Whether these tensors of the part are it.
    fn is(self, tensors: &Tensors) -> bool {
        match self {
            Wanted::Transformer => TransformerConfig::of(tensors).is_some(),
            Wanted::TextEncoder { width } => {
                TextEncoderConfig::of(tensors).is_some_and(|config| config.hidden_size == width)
            }
            Wanted::Vae { channels } => {
                VaeConfig::of(tensors).is_some_and(|config| config.latent_channels == channels)
            }
        }
    }

    /// Whether the part may be in the file `path`, by the folder in which people keep it.
    fn may_be_in(self, path: &Path) -> bool {
        let own: &[&str] = match self {
            Wanted::Transformer => &["diffusion_models", "unet", "checkpoints"],
            Wanted::TextEncoder { .. } => &["text_encoders", "clip", "checkpoints"],
            Wanted::Vae { .. } => &["vae", "checkpoints"],
        };
        let names = path.ancestors().skip(1).filter_map(Path::file_name);
        let known = names.filter_map(|name| FOLDERS.iter().find(|known| name == **known)).next();
        known.is_none_or(|known| *known == SPLIT || own.contains(known))
    }

    /// The usual name of its file, which decides between several.
    fn usual_name(self) -> &'static str {
        match self {
            Wanted::Transformer => "z_image",
            Wanted::TextEncoder { .. } => "qwen_3_4b",
            Wanted::Vae { .. } => "ae",
        }
    }

    /// What a user is told who has none.
    fn missing(self) -> String {
        match self {
            Wanted::Transformer => {
                "holds no transformer of Z-Image; `zimaged model fetch turbo` brings one".to_owned()
            }
            Wanted::TextEncoder { width } => format!(
                "is there, but no text encoder for it (Qwen3 with embeddings of {width}): put \
                 qwen_3_4b.safetensors into text_encoders/ beside it, or name the file: [model] \
                 text_encoder; `zimaged model fetch turbo` brings all parts"
            ),
            Wanted::Vae { channels } => format!(
                "is there, but no VAE for it (Flux's, with {channels} channels): put \
                 ae.safetensors into vae/ beside it, or name the file: [model] vae; \
                 `zimaged model fetch turbo` brings all parts"
            ),
        }
    }

    /// The key that names the file.
    fn key(self) -> &'static str {
        match self {
            Wanted::Transformer => "path",
            Wanted::TextEncoder { .. } => "text_encoder",
            Wanted::Vae { .. } => "vae",
        }
    }
}

/// Files that can be parts.
pub(super) struct Candidates {
    /// The file that the user named, where it is one.
    named: Option<PathBuf>,
    paths: Vec<PathBuf>,
    others: OnceCell<Vec<Candidate>>,
}

/// A file that was found, and what it holds by its header, which is read once.
struct Candidate {
    path: PathBuf,
    content: Result<NamedTensors, ModelError>,
}

impl Candidate {
    fn read(path: PathBuf) -> Candidate {
        let content = Checkpoint::read(&path).and_then(|checkpoint| named(&checkpoint, &path));
        Candidate { path, content }
    }

    /// Whether it holds the part. What cannot be read, or is something else, does not.
    fn holds(&self, wanted: Wanted) -> bool {
        let content = self.content.as_ref().ok();
        let tensors = content.and_then(|content| content.parts.get(&wanted.part()));
        tensors.is_some_and(|tensors| wanted.is(tensors))
    }

    /// Why it is not the part, where it might have been.
    fn refusal(&self, wanted: Wanted) -> Option<String> {
        let content = match &self.content {
            Ok(content) => content,
            Err(error) => return Some(error.to_string()),
        };
        let Wanted::TextEncoder { .. } = wanted else { return None };
        let other = TextEncoderConfig::of(content.parts.get(&Part::TextEncoder)?)?;
        let path = self.path.display();
        Some(format!("{path}: is a text encoder with embeddings of {}", other.hidden_size))
    }
}

impl Candidates {
    /// Of the folder `path`; or of the file `path` and what lies around it.
    pub(super) fn around(path: &Path) -> Candidates {
        let named = (!path.is_dir()).then(|| path.to_owned());
        let root = if named.is_some() { root_of(path) } else { Some(path.to_owned()) };
        let mut paths = root.as_deref().map(listed).unwrap_or_default();
        paths.retain(|other| other != path);
        Candidates { named, paths, others: OnceCell::new() }
    }

    /// All but the named one. Their headers are read when one is wanted, which an all-in-one file
    /// never does.
    fn others(&self) -> &[Candidate] {
        let read = || self.paths.iter().cloned().map(Candidate::read).collect();
        self.others.get_or_init(read)
    }

    /// The file with the part that is `wanted`. An error where there is none, or where several fit
    /// and no name decides.
    pub(super) fn one(&self, asked: &Path, wanted: Wanted) -> Result<PartFiles, ModelError> {
        let part = wanted.part();
        if let Some(path) = &self.named {
            // What is wrong with a file that the user named is told.
            let tensors = PartFiles::file(part, path).tensors()?;
            if wanted.is(&tensors) {
                return Ok(PartFiles::file(part, path));
            }
            if matches!(wanted, Wanted::Transformer) {
                return Err(ModelError::wrong(path, wanted.missing()));
            }
        }
        let fitting = self.others().iter().filter(|candidate| candidate.holds(wanted));
        let mut fitting: Vec<&PathBuf> = fitting.map(|candidate| &candidate.path).collect();
        if fitting.len() > 1 {
            let usual = |path: &&&PathBuf| {
                path.file_stem().is_some_and(|stem| stem.to_string_lossy() == wanted.usual_name())
            };
            fitting = fitting.iter().find(usual).map_or(fitting.clone(), |usual| vec![*usual]);
        }
        match *fitting {
            [] => Err(self.none(asked, wanted)),
            [path] => Ok(PartFiles::file(part, path)),
            _ => Err(ModelError::wrong(asked, several(&fitting, wanted))),
        }
    }

    /// Says that nothing fits, and what is wrong with the first file that might have. A text
    /// encoder of another width is one of them: people take Qwen3-8B for Qwen3-4B.
    fn none(&self, asked: &Path, wanted: Wanted) -> ModelError {
        let mut might = self.others().iter().filter(|candidate| wanted.may_be_in(&candidate.path));
        let refused = might.find_map(|candidate| candidate.refusal(wanted));
        let missing = wanted.missing();
        match refused {
            Some(refused) => ModelError::wrong(asked, format!("{missing} ({refused})")),
            None => ModelError::wrong(asked, missing),
        }
    }
}

fn several(fitting: &[&PathBuf], wanted: Wanted) -> String {
    let names: Vec<String> = fitting.iter().map(|path| path.display().to_string()).collect();
    format!(
        "several files hold a {}: {}; say which by [model] {}",
        wanted.part().word(),
        names.join(", "),
        wanted.key()
    )
}

/// The part in the file, or in the folder of the hub's layout, that the user named for it.
pub(super) fn holding(part: Part, path: &Path) -> Result<PartFiles, ModelError> {
    if path.is_dir() {
        let stem = if part == Part::TextEncoder { "model" } else { "diffusion_pytorch_model" };
        return Ok(PartFiles::folder(part, path, stem));
    }
    let checkpoint = Checkpoint::read(path)?;
    let tensors = named(&checkpoint, path)?.parts.remove(&part).unwrap_or_default();
    match is_whole(part, &tensors) {
        true => Ok(PartFiles::file(part, path)),
        false => Err(ModelError::wrong(path, format!("holds no {} of Z-Image", part.word()))),
    }
}

/// The folder that holds the folders of single files, of which one holds `path`; else the folder of
/// `path`.
fn root_of(path: &Path) -> Option<PathBuf> {
    let folders = path.ancestors().skip(1).take(DEPTH_MAX + 1);
    let is_known = |folder: &&Path| {
        folder.file_name().is_some_and(|name| FOLDERS.iter().any(|known| name == *known))
    };
    let root = folders.into_iter().find(is_known).and_then(Path::parent);
    root.or_else(|| path.parent()).map(Path::to_owned)
}

/// The files of weights in `root` itself and in its known folders, sorted.
fn listed(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(root, 0, &mut files);
    for base in [root.to_owned(), root.join("models"), root.join("split_files")] {
        FOLDERS.iter().for_each(|folder| collect(&base.join(folder), DEPTH_MAX, &mut files));
    }
    files.sort_unstable();
    files.dedup();
    files
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if files.len() >= FILES_MAX {
            return;
        }
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ends = || path.extension().is_some_and(|end| ENDS.iter().any(|known| end == *known));
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, files);
        } else if ends() && !name.contains(OWN) {
            files.push(path);
        }
    }
}
