//! A LoRA's file, as far as its header tells: which modules it changes, how, and what in it nobody
//! knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::form::{ChangeForm, ChangeParts};
use super::keys::{self, Key};
use super::modules::{Modules, Target};
use super::peft::PeftConfig;
use crate::engine::ModelError;
use crate::engine::z_image::checkpoint::{Checkpoint, StoredTensor};
use crate::engine::z_image::wrong_file;

/// A LoRA of all modules with all their values takes as much as the model.
pub const FILE_BYTES_MAX: u64 = 8 << 30;

/// Higher ranks say no more than the matrix itself.
pub const RANK_MAX: usize = 2048;

/// How many keys an error names.
const NAMED_MAX: usize = 5;

/// What is wrong with a file is told in words that name it.
pub type Result<T> = std::result::Result<T, ModelError>;

/// A file, read as far as its header.
pub struct LoraFile {
    pub path: PathBuf,
    pub changes: Vec<ModuleChange>,
    /// Keys that nothing in the model answers to, and why as far as that is known.
    pub unknown: Vec<(String, Option<&'static str>)>,
    /// How many keys the file has.
    pub keys: usize,
    /// Keys of a fused matrix whose three parts the file has, too: they say the same again.
    pub duplicates: usize,
}

/// The change of one module, or of three that are fused in the file.
pub struct ModuleChange {
    /// The module as the file calls it.
    pub written: String,
    pub target: Target,
    pub form: Option<ChangeForm>,
    pub alpha: Option<StoredTensor>,
    pub scale: Option<StoredTensor>,
    pub magnitude: Option<StoredTensor>,
    pub bias: Option<StoredTensor>,
    /// What counts where the file has no alpha for the module.
    pub peft_scale: Option<f64>,
}

impl LoraFile {
    /// Reads the header of the file at `path` and looks each key up in `modules`. Errors name the
    /// file and the tensor.
    pub fn read(path: &Path, modules: &Modules) -> Result<LoraFile> {
        let checkpoint = open(path)?;
        let keys = checkpoint.tensors.len();
        let (by_module, unknown) = sorted(&checkpoint, modules);
        let peft = PeftConfig::of(&checkpoint.metadata);
        let mut changes = Vec::with_capacity(by_module.len());
        for (written, (target, parts)) in by_module {
            let change = ModuleChange::new(written, target, parts, modules, &peft);
            changes.push(change.map_err(|what| ModelError::wrong(path, what))?);
        }
        let before = changes.len();
        let split: Vec<usize> = changes.iter().filter_map(ModuleChange::only).collect();
        changes.retain(|change| !is_said_by(change, &split));
        let duplicates = before - changes.len();
        refuse_twice(&changes).map_err(|what| ModelError::wrong(path, what))?;
        Ok(LoraFile { path: path.to_owned(), changes, unknown, keys, duplicates })
    }

    /// The highest rank of its changes.
    pub fn rank(&self) -> usize {
        self.changes.iter().map(ModuleChange::rank).max().unwrap_or(0)
    }

    /// The kinds of its changes, with how many modules each changes.
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for change in &self.changes {
            *kinds.entry(change.kind()).or_default() += change.target.places().len();
        }
        kinds
    }

    /// What it is, in one line.
    pub fn summary(&self, modules: &Modules) -> String {
        let kinds: Vec<String> = self.kinds().into_keys().collect();
        let (rank, hit, all) = (self.rank(), self.modules_hit(), modules.count());
        let (keys, unknown) = (self.keys, self.unknown.len());
        format!(
            "{} of rank {rank}; {hit} of the model's {all} modules; {keys} keys, {unknown} unknown",
            kinds.join(", ")
        )
    }

    /// The first of the keys that nobody knows.
    pub fn unknown_keys(&self) -> String {
        let keys: Vec<&str> =
            self.unknown.iter().take(NAMED_MAX).map(|(key, _)| key.as_str()).collect();
        let more = if self.unknown.len() > NAMED_MAX { ", ..." } else { "" };
        format!("{}{more}", keys.join(", "))
    }

    /// How many of the model's modules it changes.
    pub fn modules_hit(&self) -> usize {
        self.changes.iter().map(|change| change.target.places().len()).sum()
    }

    /// An error where nothing of it can be applied, or only a part of it and that is not allowed.
    pub fn require_fit(&self, allow_unknown: bool) -> Result<()> {
        if !self.changes.is_empty() && (self.unknown.is_empty() || allow_unknown) {
            return Ok(());
        }
        let named = self.unknown_keys();
        let why = self.unknown.iter().find_map(|(_, why)| *why);
        let why = why.map_or(String::new(), |why| format!("; {why}"));
        let (unknown, keys) = (self.unknown.len(), self.keys);
        Err(ModelError::wrong(
            &self.path,
            match self.changes.is_empty() {
                true => format!("none of its {keys} keys belongs to this model: {named}{why}"),
                false => format!(
                    "{unknown} of its {keys} keys belong to nothing in this model: {named}{why}; \
                     allow_unknown = true in [[lora]] applies the rest"
                ),
            },
        ))
    }
}

/// The header, of a file that is neither missing nor enormous.
fn open(path: &Path) -> Result<Checkpoint> {
    let facts = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ModelError::wrong(path, "there is no such file"));
        }
        facts => facts.map_err(|error| ModelError::of_io(path, &error))?,
    };
    if !facts.is_file() {
        return Err(ModelError::wrong(path, "is no file"));
    }
    if facts.len() > FILE_BYTES_MAX {
        let what = format!("has {} bytes; a LoRA may have {FILE_BYTES_MAX}", facts.len());
        return Err(ModelError::wrong(path, what));
    }
    Checkpoint::read(path).map_err(|error| match error {
        ModelError::Wrong(what) => ModelError::Wrong(of_a_lora(&what)),
        passing => passing,
    })
}

/// What is said of files of models, without the command that fetches one.
fn of_a_lora(what: &str) -> String {
    what.replace(&wrong_file::unfinished(""), ": its download is incomplete")
        .replace(&format!("; {}", wrong_file::again()), "; download it again")
        .replace(&format!("; {}", wrong_file::hub_layout()), "; a LoRA is a safetensors file")
}

type ByModule = BTreeMap<String, (Target, ChangeParts)>;

/// The tensors by the modules that they are of, and the keys that are of none.
fn sorted(
    checkpoint: &Checkpoint,
    modules: &Modules,
) -> (ByModule, Vec<(String, Option<&'static str>)>) {
    let (mut by_module, mut unknown) = (ByModule::new(), Vec::new());
    for (key, tensor) in &checkpoint.tensors {
        let (written, role) = match keys::parse(key) {
            Key::Of(written, role) => (written, role),
            Key::Refused(why) => {
                unknown.push((key.clone(), Some(why)));
                continue;
            }
            Key::Unknown => {
                unknown.push((key.clone(), None));
                continue;
            }
        };
        match modules.find(written) {
            Some(target) => {
                let entry = by_module.entry(written.to_owned());
                let (_, parts) = entry.or_insert_with(|| (target, ChangeParts::new()));
                parts.insert(role, tensor.clone());
            }
            None => unknown.push((key.clone(), None)),
        }
    }
    (by_module, unknown)
}

/// Whether all that a fused change says is said by others, module by module.
fn is_said_by(change: &ModuleChange, split: &[usize]) -> bool {
    match &change.target {
        Target::One(_) => false,
        Target::Fused(places) => places.iter().all(|place| split.contains(place)),
    }
}

fn refuse_twice(changes: &[ModuleChange]) -> std::result::Result<(), String> {
    let mut said = BTreeMap::new();
    for change in changes {
        for place in change.target.places() {
            if let Some(other) = said.insert(*place, &change.written) {
                let written = &change.written;
                return Err(format!("{other} and {written} are the same module of the model"));
            }
        }
    }
    Ok(())
}

impl ModuleChange {
    fn new(
        written: String,
        target: Target,
        mut parts: ChangeParts,
        modules: &Modules,
        peft: &PeftConfig,
    ) -> std::result::Result<ModuleChange, String> {
        use super::keys::Role;
        let first = modules.at(target.places()[0]);
        let shape = [first.outputs * target.places().len(), first.inputs];
        let mut take = |role: Role| parts.remove(&role);
        let [alpha, scale] = [Role::Alpha, Role::Scale].map(&mut take);
        let [magnitude, bias] = [Role::Magnitude, Role::DiffBias].map(&mut take);
        let form = ChangeForm::new(&written, parts, shape)?;
        let rank = form.as_ref().map_or(0, ChangeForm::rank);
        if rank > RANK_MAX {
            return Err(format!("{written} is of rank {rank}; at most {RANK_MAX} are applied"));
        }
        let peft_scale = peft.scale(&first.full_name(), rank);
        let change =
            ModuleChange { written, target, form, alpha, scale, magnitude, bias, peft_scale };
        change.check_companions(shape)?;
        Ok(change)
    }

    fn check_companions(&self, [outputs, inputs]: [usize; 2]) -> std::result::Result<(), String> {
        let written = &self.written;
        let numbers = [("alpha", &self.alpha), ("scale", &self.scale)];
        for (name, tensor) in numbers {
            if let Some(tensor) = tensor.as_ref().filter(|tensor| !tensor.fits(&[])) {
                return Err(format!("{written}.{name} is {:?}, not one number", tensor.shape()));
            }
        }
        if let Some(bias) = self.bias.as_ref().filter(|bias| !bias.fits(&[outputs])) {
            return Err(format!("{written}.diff_b is {:?}, not [{outputs}]", bias.shape()));
        }
        let Some(magnitude) = &self.magnitude else { return self.require_form() };
        if self.form.is_none() {
            return Err(format!("{written} has a magnitude, and nothing that it belongs to"));
        }
        match magnitude.shape() {
            &[a] | &[a, 1] if a == outputs => Ok(()),
            &[1, a] if a == inputs => Ok(()),
            shape => Err(format!(
                "{written} has a magnitude of {shape:?}, not [{outputs}, 1] or [1, {inputs}]"
            )),
        }
    }

    /// An alpha alone changes nothing.
    fn require_form(&self) -> std::result::Result<(), String> {
        match self.form.is_some() || self.bias.is_some() {
            true => Ok(()),
            false => Err(format!("{} has an alpha or a scale, and no matrices", self.written)),
        }
    }

    /// The place of the module that alone it changes.
    fn only(&self) -> Option<usize> {
        match self.target {
            Target::One(place) => Some(place),
            Target::Fused(_) => None,
        }
    }

    pub fn rank(&self) -> usize {
        self.form.as_ref().map_or(0, ChangeForm::rank)
    }

    fn kind(&self) -> String {
        let kind = self.form.as_ref().map_or_else(|| "bias".to_owned(), |it| it.kind().to_string());
        match self.magnitude.is_some() {
            true => format!("DoRA ({kind})"),
            false => kind,
        }
    }
}
