//! A picture of ours as a job: it says everything that made it.

use super::{DifferenceKind, Draft, Here, model};
use crate::job::{AskedPrecision, Format, OnOom, Recipe};
use crate::ladder::{Decode, Precision, Rung};
use crate::loras;
use crate::output::metadata::{Metadata, PictureModel, SOFTWARE};
use crate::store::HistoryRow;

/// What cuts a prompt in a format with little room.
const CUT: char = '…';

/// The job that makes the picture as it is, not as it was asked for. What the `row` of it knows
/// better, where this queue made it, is taken from there.
pub(super) fn draft(
    here: &Here,
    metadata: Metadata,
    row: Option<&HistoryRow>,
    format: Option<Format>,
) -> Draft {
    let mut draft = Draft::default();
    let Metadata { software, queue, recipe, rung, model, device, .. } = metadata;
    let recipe = with_whole_prompts(recipe, row, format, &mut draft);
    put_recipe(&recipe, &mut draft);
    put_rung(&rung, &mut draft);
    if let Some(format) = format {
        draft.lines.text_key("format", format.word());
    }
    model::choose(here, &with_known_hashes(model, row), &mut draft);
    put_input(here, &recipe, &mut draft);
    put_loras(here, &recipe, &mut draft);
    if software != SOFTWARE {
        draft.differs(
            DifferenceKind::Version,
            format!("it was made by {software}, and this is {SOFTWARE}"),
        );
    }
    compare_device(here, &device, &mut draft);
    if queue.asked_prompt.is_some() {
        draft.notes.push("the choices in its prompt are those that were made for it".to_owned());
    }
    if queue.degraded {
        let asked = queue.asked;
        draft.notes.push(format!(
            "{}x{} in {} steps were asked for; it is made again as it is",
            asked.width, asked.height, asked.steps
        ));
    }
    draft
}

/// The first pictures of a model do not know its hashes; their rows do later.
fn with_known_hashes(model: PictureModel, row: Option<&HistoryRow>) -> PictureModel {
    match row.filter(|row| !row.parts.0.is_empty()) {
        Some(row) => PictureModel { parts: row.parts.0.clone(), ..model },
        None => model,
    }
}

fn with_whole_prompts(
    recipe: Recipe,
    row: Option<&HistoryRow>,
    format: Option<Format>,
    draft: &mut Draft,
) -> Recipe {
    let is_cut = format == Some(Format::Jpeg)
        && [&recipe.prompt, &recipe.negative_prompt].into_iter().any(|text| text.ends_with(CUT));
    if !is_cut {
        return recipe;
    }
    match row {
        Some(row) => Recipe {
            prompt: row.prompt.clone(),
            negative_prompt: row.negative_prompt.clone(),
            ..recipe
        },
        None => {
            draft.differs(
                DifferenceKind::Prompt,
                "its file may have only the beginning of a long prompt",
            );
            recipe
        }
    }
}

fn put_recipe(recipe: &Recipe, draft: &mut Draft) {
    let lines = &mut draft.lines;
    lines.text_key("prompt", &recipe.prompt);
    lines.text_key("negative_prompt", &recipe.negative_prompt);
    lines.number("seed", recipe.seed.cast_signed());
    lines.number("guidance", recipe.guidance);
    lines.number("guidance_normalization", recipe.guidance_normalization);
    lines.number("guidance_truncation", recipe.guidance_truncation);
    lines.text_key("sampler", recipe.sampler.word());
}

/// Size and steps as they were made, and no rung that would make another picture.
fn put_rung(rung: &Rung, draft: &mut Draft) {
    let Rung { width, height, steps, precision, decode, .. } = *rung;
    draft.lines.number("width", width);
    draft.lines.number("height", height);
    draft.lines.number("steps", steps);
    let is_tiled = matches!(decode, Decode::Tiles { .. });
    let on_oom = match precision {
        Precision::Full | Precision::Int8 if is_tiled => OnOom::Offload,
        Precision::Full | Precision::Int8 => OnOom::Fail,
        _ => OnOom::Downgrade,
    };
    let asked =
        if precision == Precision::Int8 { AskedPrecision::Int8 } else { AskedPrecision::Full };
    // Also where it is the usual one: `[defaults]` may say otherwise here.
    draft.lines.text_key("precision", asked.word());
    draft.lines.text_key("on_oom", on_oom.word());
    if on_oom == OnOom::Downgrade {
        draft.lines.number("min_side", width.min(height));
        draft.lines.number("min_steps", steps);
    }
    if on_oom != OnOom::Fail {
        let text = format!(
            "it was rendered as {rung}; what memory is free decides whether it is so again"
        );
        draft.differs(DifferenceKind::Rung, text);
    }
}

fn put_input(here: &Here, recipe: &Recipe, draft: &mut Draft) {
    if !recipe.begins_with_picture() {
        return;
    }
    let kept = |hash: &str| {
        let path = here.config.inputs_path().join(hash);
        path.is_file().then(|| path.display().to_string())
    };
    let Some(init_image) = kept(&recipe.init_image) else {
        let hash = &recipe.init_image;
        let text = format!("the picture that it began with, SHA-256 {hash}, is not kept here");
        return draft.differs(DifferenceKind::Input, text);
    };
    draft.lines.text_key("init_image", &init_image);
    draft.lines.number("strength", recipe.strength);
    match kept(&recipe.mask) {
        Some(mask) => draft.lines.text_key("mask", &mask),
        None if recipe.is_masked() => {
            let text = format!("its mask, SHA-256 {}, is not kept here", recipe.mask);
            draft.differs(DifferenceKind::Input, text);
        }
        None => (),
    }
}

fn put_loras(here: &Here, recipe: &Recipe, draft: &mut Draft) {
    let folder = &here.config.loras;
    for lora in &recipe.lora.0 {
        let path = loras::path(folder, &lora.name);
        match loras::hash(&path) {
            Ok(hash) => {
                draft.lines.lora(&lora.name, lora.weight, lora.allow_unknown);
                if hash != lora.sha256 {
                    let text = format!("the LoRA {} has another content now", lora.name);
                    draft.differs(DifferenceKind::Lora, text);
                }
            }
            Err(_) => {
                let (name, hash) = (&lora.name, &lora.sha256);
                let text = format!("the LoRA {name}, SHA-256 {hash}, is missing, and left out");
                draft.differs(DifferenceKind::Lora, text);
            }
        }
    }
}

/// The same kind of device makes the same picture.
fn compare_device(here: &Here, device: &str, draft: &mut Draft) {
    let kind = |device: &str| device.split(',').next().unwrap_or_default().to_owned();
    match &here.worker {
        Some(worker) if kind(&worker.device) == kind(device) => (),
        Some(worker) => draft.differs(
            DifferenceKind::Device,
            format!("it was made on {device}, and here renders {}", worker.device),
        ),
        None => draft.differs(
            DifferenceKind::Device,
            format!("it was made on {device}; which device renders here is not known yet"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Residency;

    fn keys(precision: Precision, decode: Decode) -> (String, usize) {
        let mut draft = Draft::default();
        let residency = Residency::Device;
        put_rung(
            &Rung { residency, precision, decode, width: 96, height: 64, steps: 8 },
            &mut draft,
        );
        (draft.lines.text(), draft.differences.len())
    }

    #[test]
    fn only_rungs_that_give_the_same_picture_are_allowed_where_it_was_made_on_one() {
        let (whole, differences) = keys(Precision::Full, Decode::Stripes { height: 256 });
        assert!(whole.contains("on_oom = \"fail\"") && differences == 0, "{whole}");
        let (int8, differences) = keys(Precision::Int8, Decode::Whole);
        assert!(int8.contains("precision = \"int8\"") && differences == 0, "{int8}");
        let (tiled, differences) = keys(Precision::Full, Decode::Tiles { side: 512 });
        assert!(tiled.contains("on_oom = \"offload\"") && differences == 1, "{tiled}");
    }
}
