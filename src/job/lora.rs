//! The LoRAs that renders are made with: named in `[[lora]]`, or by `<lora:name:0.8>` in a prompt.

use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use crate::table::{Check, Mistake, check};

/// So many are named in one place: `[[lora]]`, or one prompt.
const LORAS_MAX: usize = 8;

/// Heavier ones only burn the picture; below zero a LoRA is taken away.
const WEIGHT_MAX: f64 = 10.0;

/// Names of files are shorter on every system.
const NAME_BYTES_MAX: usize = 255;

/// What a tag in a prompt begins with. It ends with `>`.
const TAG: &str = "<lora:";

/// One LoRA, and how it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lora {
    /// Its file in the folder of LoRAs; the extension may be left out.
    pub name: String,
    /// How strongly it counts; below zero it is taken away.
    pub weight: f64,
    /// Whether keys of the file that belong to nothing in the model are passed over.
    #[serde(default)]
    pub allow_unknown: bool,
    /// The SHA-256 of the file's content; empty in a job that is not taken in yet.
    #[serde(default)]
    pub sha256: String,
    /// What it takes, for who predicts the memory.
    #[serde(default)]
    pub size: LoraSize,
}

/// What the memory of a LoRA depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LoraSize {
    /// Values of all its tensors.
    pub values: u64,
    /// What is alive where the rows of picture and caption are together.
    pub all_rows: LoraPeak,
    /// What is alive where the caption's rows are alone.
    pub caption_rows: LoraPeak,
}

/// The most that is alive in a block while one of its modules is changed. There are two such
/// moments: with whole matrices, and without; which one takes more depends on the number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LoraPeak {
    /// Values of each row, where no matrix is made.
    pub row_values: u64,
    /// Values of each row, where matrices are made.
    pub dense_row_values: u64,
    /// Values of those matrices.
    pub dense_values: u64,
    /// Values of each row that are kept beside this where another LoRA changes the same module.
    pub own_values: u64,
}

impl LoraPeak {
    /// Where one is made after the other.
    pub fn max(self, other: LoraPeak) -> LoraPeak {
        LoraPeak {
            row_values: self.row_values.max(other.row_values),
            dense_row_values: self.dense_row_values.max(other.dense_row_values),
            dense_values: self.dense_values.max(other.dense_values),
            own_values: self.own_values.max(other.own_values),
        }
    }

    fn beside_others(self) -> LoraPeak {
        let own = self.own_values;
        let [row_values, dense_row_values] =
            [self.row_values, self.dense_row_values].map(|values| values.saturating_add(own));
        LoraPeak { row_values, dense_row_values, ..self }
    }
}

impl LoraSize {
    /// Of the changes of one file: their tensors are all in memory, and what is made beside a
    /// module is made for one after the other.
    pub fn of_file(changes: impl Iterator<Item = LoraSize>) -> LoraSize {
        changes.fold(LoraSize::default(), |sum, size| LoraSize {
            values: sum.values.saturating_add(size.values),
            all_rows: sum.all_rows.max(size.all_rows),
            caption_rows: sum.caption_rows.max(size.caption_rows),
        })
    }

    /// Of several files together.
    pub fn of(files: impl ExactSizeIterator<Item = LoraSize>) -> LoraSize {
        let are_several = files.len() > 1;
        let size = LoraSize::of_file(files);
        match are_several {
            true => LoraSize {
                all_rows: size.all_rows.beside_others(),
                caption_rows: size.caption_rows.beside_others(),
                ..size
            },
            false => size,
        }
    }
}

/// Those of a render, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Loras(pub Vec<Lora>);

impl Loras {
    /// What they take together.
    pub fn size(&self) -> LoraSize {
        LoraSize::of(self.0.iter().map(|lora| lora.size))
    }
}

impl fmt::Display for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.weight)
    }
}

impl fmt::Display for Loras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Lora::to_string).collect();
        f.write_str(&if names.is_empty() { "no LoRA".to_owned() } else { names.join(", ") })
    }
}

impl TryFrom<String> for Loras {
    type Error = serde_json::Error;

    fn try_from(json: String) -> Result<Loras, serde_json::Error> {
        serde_json::from_str(&json).map(Loras)
    }
}

/// The value of the key `lora`: tables (`[[lora]]`), or texts like `"style:0.8"`, one or a list.
pub fn loras(value: &DeValue) -> Check<Loras> {
    let loras = match value {
        DeValue::Array(values) => {
            let nth = |(place, value): (usize, &toml::Spanned<DeValue>)| {
                entry(value.get_ref()).map_err(|mistake| {
                    let message = format!("number {}: {}", place + 1, mistake.message);
                    Mistake { message, ..mistake }
                })
            };
            values.iter().enumerate().map(nth).collect::<Check<Vec<_>>>()?
        }
        other => vec![entry(other)?],
    };
    limited(loras)
}

fn limited(loras: Vec<Lora>) -> Check<Loras> {
    match loras.len() > LORAS_MAX {
        true => Err(Mistake::new(format!("{} of them", loras.len()))
            .help(format!("at most {LORAS_MAX} LoRAs"))),
        false => Ok(Loras(loras)),
    }
}

fn entry(value: &DeValue) -> Check<Lora> {
    match value {
        DeValue::String(text) => of_text(text),
        DeValue::Table(table) => of_table(table),
        other => Err(Mistake::expected("a table, [[lora]]", other)
            .help("write [[lora]] with path and weight, or lora = [\"style:0.8\"]")),
    }
}

fn of_table(table: &DeTable) -> Check<Lora> {
    const KEYS: [&str; 3] = ["path", "weight", "allow_unknown"];
    let unknown = table.iter().find(|(key, _)| !KEYS.contains(&key.get_ref().as_ref()));
    if let Some((key, _)) = unknown {
        let Mistake { message, help } = Mistake::unknown(key.get_ref(), "key", &KEYS);
        return Err(Mistake {
            message: format!("{}: {message}", check::quoted(key.get_ref())),
            help,
        });
    }
    let value = |key: &str| table.get(key).map(toml::Spanned::get_ref);
    let path = value("path").ok_or_else(|| {
        Mistake::new("it has no path")
            .help("name its file in the folder of LoRAs: path = \"style\"")
    })?;
    let of_key = |key: &str, mistake: Mistake| {
        let message = format!("{key}: {}", mistake.message);
        Mistake { message, ..mistake }
    };
    let name = check::text(path).and_then(name).map_err(|mistake| of_key("path", mistake))?;
    let weight = value("weight").map_or(Ok(1.0), |value| {
        check::number(value, -WEIGHT_MAX..=WEIGHT_MAX).map_err(|it| of_key("weight", it))
    })?;
    let allow_unknown = value("allow_unknown").map_or(Ok(false), |value| {
        check::boolean(value).map_err(|it| of_key("allow_unknown", it))
    })?;
    Ok(Lora { allow_unknown, ..lora(name, weight) })
}

fn lora(name: String, weight: f64) -> Lora {
    let (sha256, size) = (String::new(), LoraSize::default());
    Lora { name, weight, allow_unknown: false, sha256, size }
}

/// `style`, or `style:0.8`.
fn of_text(text: &str) -> Check<Lora> {
    let (written, weight) = match text.split_once(':') {
        Some((name, weight)) => (name, Some(weight)),
        None => (text, None),
    };
    let weight = weight.map_or(Ok(1.0), |weight| {
        let number = weight.trim().parse().ok();
        number.filter(|weight: &f64| weight.abs() <= WEIGHT_MAX).ok_or_else(|| {
            Mistake::new(format!("{} is no weight of a LoRA", check::quoted(weight)))
                .help(format!("use a number from -{WEIGHT_MAX} to {WEIGHT_MAX}: \"style:0.8\""))
        })
    })?;
    // -0.0 becomes 0.0, so that equal requests are equal.
    Ok(lora(name(written.trim())?, weight + 0.0))
}

/// A name of a file in the folder of LoRAs, or in a folder in there. Jobs may come from elsewhere:
/// they name no other file of the machine.
fn name(text: &str) -> Check<String> {
    let inside = Path::new(text).components().all(|it| matches!(it, Component::Normal(_)));
    let is_plain = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['\0', '\\']);
    if is_plain && inside && !text.ends_with('/') && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("{} is no name of a LoRA", check::quoted(text))).help(
        "name a file in the folder of LoRAs ([folders] loras in daemon.toml), like \"style\" or \
         \"people/anna.safetensors\"",
    ))
}

/// The LoRAs that `prompt` names, and the prompt without their tags and the blanks before these.
pub fn take_tags(prompt: &str) -> Check<(String, Loras)> {
    let (mut text, mut rest) = (String::new(), prompt);
    let mut loras = Vec::new();
    while let Some(start) = rest.find(TAG) {
        text += rest[..start].trim_end_matches(' ');
        let tag = &rest[start + TAG.len()..];
        let Some(end) = tag.find('>') else {
            let tag = check::quoted(&rest[start..]);
            return Err(Mistake::new(format!("{tag} has no end")).help("write <lora:style:0.8>"));
        };
        loras.push(of_text(&tag[..end])?);
        rest = &tag[end + 1..];
    }
    if loras.is_empty() {
        return Ok((prompt.to_owned(), Loras::default()));
    }
    text += rest;
    Ok((text.trim().to_owned(), limited(loras)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Vec<(String, f64, bool)>, String> {
        let document = DeTable::parse(toml).unwrap();
        match loras(document.get_ref()["lora"].get_ref()) {
            Ok(Loras(loras)) => Ok(loras
                .into_iter()
                .map(|lora| (lora.name, lora.weight, lora.allow_unknown))
                .collect()),
            Err(mistake) => Err(mistake.message),
        }
    }

    #[test]
    fn a_lora_is_a_table_or_a_text() {
        let style = |weight: f64| ("style".to_owned(), weight, false);
        assert_eq!(read("lora = 'style'"), Ok(vec![style(1.0)]));
        assert_eq!(read("lora = ['style:0.8', 'style: -1']"), Ok(vec![style(0.8), style(-1.0)]));
        let tables = "[[lora]]\npath = 'style'\nweight = 0.5\n[[lora]]\npath = 'a/b.safetensors'\n\
                      allow_unknown = true";
        let expected = vec![style(0.5), ("a/b.safetensors".to_owned(), 1.0, true)];
        assert_eq!(read(tables), Ok(expected));
    }

    #[test]
    fn what_is_wrong_with_a_lora_is_told() {
        for (toml, message) in [
            ("lora = 3", "expected a table, [[lora]], found the number 3"),
            ("lora = ['a:x']", "number 1: \"x\" is no weight of a LoRA"),
            ("lora = 'a:11'", "\"11\" is no weight of a LoRA"),
            ("lora = 'a:NaN'", "\"NaN\" is no weight of a LoRA"),
            ("lora = '/etc/passwd'", "\"/etc/passwd\" is no name of a LoRA"),
            ("lora = '../a'", "\"../a\" is no name of a LoRA"),
            ("lora = 'a/../../b'", "\"a/../../b\" is no name of a LoRA"),
            ("lora = ''", "\"\" is no name of a LoRA"),
            ("[[lora]]\nweight = 1", "number 1: it has no path"),
            ("[[lora]]\npath = 'a'\nwait = 1", "number 1: \"wait\": unknown key"),
            ("[[lora]]\npath = 'a'\nweight = 'x'", "number 1: weight: expected a number, "),
            ("lora = ['a','a','a','a','a','a','a','a','a']", "9 of them"),
        ] {
            let found = read(toml).unwrap_err();
            assert!(found.starts_with(message), "{toml}: {found}");
        }
    }

    #[test]
    fn tags_are_taken_out_of_a_prompt_with_the_blanks_before_them() {
        let taken = |prompt: &str| {
            let (text, Loras(loras)) = take_tags(prompt).unwrap();
            let loras: Vec<_> = loras.iter().map(|it| (it.name.clone(), it.weight)).collect();
            (text, loras)
        };
        let (text, loras) = taken("a fox <lora:x:0.8>, snow<lora:people/anna.safetensors>");
        assert_eq!(text, "a fox, snow");
        assert_eq!(loras, [("x".to_owned(), 0.8), ("people/anna.safetensors".to_owned(), 1.0)]);
        assert_eq!(taken("<lora:x:-1> a fox").0, "a fox");
        let plain = " a <b> fox < lora:x> ";
        assert_eq!(taken(plain), (plain.to_owned(), Vec::new()));
        for wrong in ["a <lora:x", "a <lora:>", "a <lora:x:1:2>", "a <lora:../x:1>"] {
            assert!(take_tags(wrong).is_err(), "{wrong}");
        }
    }
}
