//! The LoRAs that a job names, found when it is taken in: each is a file in the folder of LoRAs,
//! and called by the hash of its content from then on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::Config;
use crate::engine::weight_files::Stamp;
use crate::engine::{EngineKind, ModelError, ModelPlace, check_lora, model_hash};
use crate::job::lora::{self, Lora, LoraSize};
use crate::job::spec::inputs::texts;
use crate::job::{Job, Render};
use crate::problem::Problem;
use crate::table::Mistake;
use crate::table::check::quoted;

/// What files are called that are named without it.
const EXTENSION: &str = "safetensors";

/// The hashes of so many files are remembered: jobs name the same ones again and again, and some
/// of them many.
const REMEMBERED_MAX: usize = 4096;

/// So many files are read for their hashes beside the intake.
const BESIDE_MAX: usize = 2;

/// So long the intake waits for such a hash: most files are read in less.
const BESIDE_PATIENCE: Duration = Duration::from_millis(200);

/// What is known of the files that were named last.
static HASHES: Mutex<VecDeque<(Stamp, Hashed)>> = Mutex::new(VecDeque::new());

/// Told whenever a file was read.
static READ: Condvar = Condvar::new();

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hashed {
    /// It is being read beside the intake.
    Soon,
    Known(String),
    /// It could not be read beside: whoever needs it tries, and tells why.
    Failed,
}

/// Where LoRAs are, and what they are for.
#[derive(Clone, Debug)]
pub struct LoraFolder {
    pub path: PathBuf,
    /// The model that they must fit; `None` of the scripted engine, which applies none.
    pub model: Option<ModelPlace>,
    /// Those that jobs name in its place.
    pub models: BTreeMap<String, ModelPlace>,
}

impl LoraFolder {
    /// That of the configuration, whose model is at `model`.
    pub fn of(config: &Config, model: ModelPlace) -> LoraFolder {
        let model = (config.engine == EngineKind::ZImage).then_some(model);
        LoraFolder { path: config.loras.clone(), model, models: config.models.clone() }
    }

    /// The model that a job calls `name`.
    fn model(&self, name: &str) -> Option<&ModelPlace> {
        let one = self.model.as_ref()?;
        Some(self.models.get(name).unwrap_or(one))
    }
}

/// What is known of a file.
type Found = (String, LoraSize);

/// The file of the LoRA that a job calls `name`.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    match path.extension().is_some_and(|extension| extension == EXTENSION) {
        true => path,
        false => PathBuf::from(format!("{}.{EXTENSION}", path.display())),
    }
}

/// So many are told at the most.
const NAMES_MAX: usize = 1000;

/// What jobs may call the files in `folder`, sorted; none where it cannot be listed.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).take(NAMES_MAX);
    let named = paths.filter(|path| path.extension().is_some_and(|it| it == EXTENSION));
    let mut names: Vec<String> =
        named.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    names
}

/// Looks at the LoRAs of all renders of `job`, whose text is `text`, and notes their hashes in it.
/// The errors are all that is wrong with the files. Their `folder` is asked for where there are
/// any.
pub fn take_in(
    job: &mut Job,
    text: &str,
    folder: impl FnOnce() -> Result<LoraFolder, Vec<Problem>>,
) -> Result<(), Vec<Problem>> {
    let renders = job.renders.iter_mut();
    let named = renders.flat_map(|Render { recipe, model, .. }| {
        recipe.lora.0.iter_mut().map(|lora| (lora, model.as_str()))
    });
    find(named, text, folder)
}

/// As [`take_in`], of a text that is no job yet: its LoRAs are only looked at, as far as they can
/// be read.
pub fn look_at_text(
    text: &str,
    folder: impl FnOnce() -> Result<LoraFolder, Vec<Problem>>,
) -> Result<(), Vec<Problem>> {
    let Ok(document) = DeTable::parse(text) else { return Ok(()) };
    let top = document.get_ref();
    let model = top.get("model").and_then(|value| value.get_ref().as_str()).unwrap_or_default();
    let own = top.get("lora").and_then(|value| lora::loras(value.get_ref()).ok());
    let matrix = top.get("matrix").and_then(|matrix| matrix.get_ref().as_table());
    let prompts = [Some(top), matrix].into_iter().flatten().filter_map(|it| it.get("prompt"));
    let tagged = prompts.flat_map(texts).filter_map(|(prompt, _)| lora::take_tags(prompt).ok());
    let named = own.into_iter().chain(tagged.map(|(_, loras)| loras)).flat_map(|loras| loras.0);
    let mut named: Vec<Lora> = named.take(NAMES_MAX).collect();
    find(named.iter_mut().map(|lora| (lora, model)), text, folder)
}

/// Notes the hash of each LoRA for the model that it is named for.
fn find<'l>(
    named: impl Iterator<Item = (&'l mut Lora, &'l str)>,
    text: &str,
    folder: impl FnOnce() -> Result<LoraFolder, Vec<Problem>>,
) -> Result<(), Vec<Problem>> {
    let mut named = named.peekable();
    if named.peek().is_none() {
        return Ok(());
    }
    let folder = folder()?;
    let mut found = BTreeMap::<(String, bool, String), Found>::new();
    let mut problems = BTreeMap::<String, Problem>::new();
    for (lora, model) in named {
        let key = (lora.name.clone(), lora.allow_unknown, model.to_owned());
        if !found.contains_key(&key) && !problems.contains_key(&lora.name) {
            match facts_of(lora, &folder, model) {
                Ok(facts) => drop(found.insert(key.clone(), facts)),
                Err(error) => {
                    let help = missing(lora, &folder.path);
                    problems.insert(lora.name.clone(), problem(text, lora, &error, help));
                }
            }
        }
        if let Some((sha256, size)) = found.get(&key) {
            lora.sha256.clone_from(sha256);
            lora.size = *size;
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.into_values().collect()),
    }
}

fn facts_of(lora: &Lora, folder: &LoraFolder, model: &str) -> Result<Found, ModelError> {
    let path = path(&folder.path, &lora.name);
    let size = match folder.model(model) {
        Some(model) => check_lora(&path, model, lora.allow_unknown)?,
        None => LoraSize::default(),
    };
    Ok((hash(&path)?, size))
}

/// The hash of a file's content, which is read only when the file has changed.
pub fn hash(path: &Path) -> Result<String, ModelError> {
    let unreadable = |error| ModelError::of_io(path, &error);
    let stamp = Stamp::of(path).map_err(unreadable)?;
    if let Some(Hashed::Known(hash)) = known(&hashes(), &stamp) {
        return Ok(hash);
    }
    let hash = model_hash::of_file(&stamp).map_err(unreadable)?;
    note(&mut hashes(), stamp, Hashed::Known(hash.clone()));
    Ok(hash)
}

/// The first file of the job's LoRAs whose hash is not known yet. It is read beside, so that
/// nothing else waits for gigabytes. What cannot be read is no such file.
pub fn unhashed(job: &Job, folder: &LoraFolder) -> Option<PathBuf> {
    let loras = job.renders.iter().flat_map(|render| &render.recipe.lora.0);
    let names: BTreeSet<&str> = loras.map(|lora| lora.name.as_str()).collect();
    let mut paths = names.into_iter().map(|name| path(&folder.path, name));
    paths.find(|path| Stamp::of(path).is_ok_and(|stamp| !is_read(&stamp)))
}

/// Whether the file was read. Who asks first has it read, and waits a moment for that.
fn is_read(stamp: &Stamp) -> bool {
    let mut hashes = hashes();
    match known(&hashes, stamp) {
        Some(hashed) => return hashed != Hashed::Soon,
        None => {
            let beside = hashes.iter().filter(|(_, hashed)| *hashed == Hashed::Soon);
            if beside.count() >= BESIDE_MAX {
                return false;
            }
        }
    }
    let read = stamp.clone();
    let started = thread::Builder::new().name("hash".to_owned()).spawn(move || {
        let hashed = model_hash::of_file(&read).map_or(Hashed::Failed, Hashed::Known);
        note(&mut self::hashes(), read, hashed);
        READ.notify_all();
    });
    note(&mut hashes, stamp.clone(), started.map_or(Hashed::Failed, |_| Hashed::Soon));
    let is_soon = |hashes: &mut VecDeque<_>| known(hashes, stamp) == Some(Hashed::Soon);
    let waited = READ.wait_timeout_while(hashes, BESIDE_PATIENCE, is_soon);
    !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

fn hashes() -> MutexGuard<'static, VecDeque<(Stamp, Hashed)>> {
    HASHES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known(hashes: &VecDeque<(Stamp, Hashed)>, stamp: &Stamp) -> Option<Hashed> {
    hashes.iter().find(|(known, _)| known == stamp).map(|(_, hashed)| hashed.clone())
}

fn note(hashes: &mut VecDeque<(Stamp, Hashed)>, stamp: Stamp, hashed: Hashed) {
    hashes.retain(|(known, _)| *known != stamp);
    hashes.truncate(REMEMBERED_MAX - 1);
    hashes.push_front((stamp, hashed));
}

fn problem(text: &str, lora: &Lora, error: &ModelError, help: Option<String>) -> Problem {
    let (key, offset) = place(text, &lora.name);
    let message = format!("{key}: {}: {error}", quoted(&lora.name));
    Problem { key: Some(key.to_owned()), ..Problem::at(text, offset, message, help) }
}

/// What would be right in place of a LoRA that is not in the `folder`.
fn missing(lora: &Lora, folder: &Path) -> Option<String> {
    if path(folder, &lora.name).exists() {
        return None;
    }
    let known = names(folder);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let nearest = Mistake::unknown(&lora.name, "LoRA", &known).help;
    let place = || format!("put the file into {}", folder.display());
    Some(nearest.filter(|_| !known.is_empty()).unwrap_or_else(place))
}

/// Where the text names the LoRA: the key, and the place of its value.
fn place(text: &str, name: &str) -> (&'static str, usize) {
    const KEYS: [&str; 3] = ["lora", "prompt", "prompt_file"];
    let Ok(document) = DeTable::parse(text) else { return ("lora", 0) };
    let top = document.get_ref();
    let matrix = top.get("matrix").and_then(|matrix| matrix.get_ref().as_table());
    let tables = [Some(top), matrix].into_iter().flatten();
    let found = tables.flat_map(|table| KEYS.map(|key| (key, table.get(key))));
    let found = found.filter_map(|(key, value)| Some((key, offset(value?, name)?)));
    found.min_by_key(|(key, _)| *key == "prompt_file").unwrap_or(("lora", 0))
}

/// Where in `value` the name stands first.
fn offset(value: &Spanned<DeValue>, name: &str) -> Option<usize> {
    match value.get_ref() {
        DeValue::String(text) => text.contains(name).then(|| value.span().start),
        DeValue::Array(values) => values.iter().find_map(|value| offset(value, name)),
        DeValue::Table(table) => table.get("path").and_then(|value| offset(value, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::fake;
    use crate::files::sha256;
    use crate::job::spec::parse_bytes;

    /// The job of `text`, taken in with two files in the folder of LoRAs.
    fn taken(text: &str) -> Result<Job, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let loras = folder.path().join("loras");
        fs::create_dir_all(loras.join("people")).unwrap();
        fs::write(loras.join("ink.safetensors"), "ink").unwrap();
        fs::write(loras.join("people/anna.v2.safetensors"), "anna").unwrap();
        let config = Config::parse("engine = 'fake'", folder.path()).unwrap();
        let rules = config.rules(&fake::description(), jiff::tz::TimeZone::UTC).unwrap();
        let mut job = parse_bytes(text.as_bytes(), &rules, 0, &mut || 7).unwrap();
        let folder = LoraFolder::of(&config, ModelPlace::at(folder.path()));
        take_in(&mut job, text, || Ok(folder.clone())).map(|()| job)
    }

    #[test]
    fn loras_are_called_by_the_hashes_of_their_files() {
        let text = "prompt = ['a <lora:ink:0.5>', 'b']\n[[lora]]\npath = 'people/anna.v2'\n";
        let job = taken(text).unwrap();
        let told = |place: usize| -> Vec<(String, String)> {
            let loras = &job.renders[place].recipe.lora.0;
            loras.iter().map(|lora| (lora.to_string(), lora.sha256.clone())).collect()
        };
        let anna = ("people/anna.v2:1".to_owned(), sha256("anna"));
        assert_eq!(told(0), [anna.clone(), ("ink:0.5".to_owned(), sha256("ink"))]);
        assert_eq!(told(1), [anna]);
        assert_eq!(job.renders[0].recipe.prompt, "a");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_where_it_is_named() {
        let told = |text: &str| {
            let problems = taken(text).unwrap_err();
            let told: Vec<_> = problems.iter().map(|it| (it.line, it.message.clone())).collect();
            told
        };
        let absent = told("prompt = 'a'\n[[lora]]\npath = 'ink'\n[[lora]]\npath = 'oil'\n");
        assert_eq!((absent.len(), absent[0].0), (1, 5));
        assert!(absent[0].1.starts_with("lora: \"oil\": "), "{absent:?}");
        let tagged = told("seed = 1\nprompt = 'a <lora:oil>'\n");
        assert!(tagged[0].0 == 2 && tagged[0].1.starts_with("prompt: \"oil\": "), "{tagged:?}");
    }
}
