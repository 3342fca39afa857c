//! A picture of another program as a job, as near as can be.

use super::{DifferenceKind, Draft, Here};
use crate::config::ConfigError;
use crate::job::lora;
use crate::job::spec::Rules;
use crate::job::spec::fields::SIDE_MIN;
use crate::loras;
use crate::output::{FoundSettings, PictureMaker};
use crate::queue::QueueError;

/// The job, with all that is another thing here.
pub(super) fn draft(here: &Here, found: &FoundSettings) -> Result<Draft, QueueError> {
    let rules = here.config.job_rules()?;
    let mut draft = Draft::default();
    put_maker(found.maker, &mut draft);
    put_prompts(here, found, &mut draft);
    put_sizes(&rules, found, &mut draft);
    put_numbers(found, &mut draft);
    put_model(here, found, &mut draft)?;
    for remark in &found.remarks {
        draft.differs(DifferenceKind::Setting, remark.clone());
    }
    Ok(draft)
}

fn put_maker(maker: PictureMaker, draft: &mut Draft) {
    match maker {
        PictureMaker::Zimaged => {
            let text = "what zimaged reads of it is damaged or gone: its text for web UIs is read";
            draft.differs(DifferenceKind::Setting, text);
        }
        maker => draft.differs(
            DifferenceKind::Maker,
            format!("it was made by {}: other noise for the same seed", maker.name()),
        ),
    }
}

fn put_prompts(here: &Here, found: &FoundSettings, draft: &mut Draft) {
    let (prompt, tagged) = match lora::take_tags(&found.prompt) {
        Ok((prompt, tagged)) => (prompt, tagged.0),
        // What is wrong with it is told where the job is checked.
        Err(_) => (found.prompt.clone(), Vec::new()),
    };
    draft.lines.text_key("prompt", &prompt);
    if !found.negative_prompt.is_empty() {
        draft.lines.text_key("negative_prompt", &found.negative_prompt);
    }
    let tagged = tagged.into_iter().map(|lora| (lora.name, lora.weight));
    for (name, weight) in tagged.chain(found.loras.clone()) {
        match loras::path(&here.config.loras, &name).is_file() {
            true => draft.lines.lora(&name, weight, false),
            false => draft.differs(
                DifferenceKind::Lora,
                format!("the LoRA {name} is not in the folder of LoRAs, and left out"),
            ),
        }
    }
}

fn put_sizes(rules: &Rules, found: &FoundSettings, draft: &mut Draft) {
    for (key, side) in [("width", found.width), ("height", found.height)] {
        let Some(side) = side.and_then(|side| u32::try_from(side).ok()) else {
            draft.differs(DifferenceKind::Setting, format!("it does not say its {key}"));
            continue;
        };
        let step = rules.granularity.max(1);
        let near = side.saturating_add(step / 2) / step * step;
        let smallest = SIDE_MIN.next_multiple_of(step);
        let largest = rules.limits.side_max / step * step;
        let ours = near.clamp(smallest, largest.max(smallest));
        draft.lines.number(key, ours);
        if ours != side {
            let text = format!("its {key} is {side}, of which this model makes {ours}");
            draft.differs(DifferenceKind::Setting, text);
        }
    }
}

fn put_numbers(found: &FoundSettings, draft: &mut Draft) {
    let whole = [("steps", found.steps), ("seed", found.seed)];
    for (key, value) in whole {
        match value {
            Some(value) => draft.lines.number(key, value),
            None => draft.differs(DifferenceKind::Setting, format!("no {key} is found in it")),
        }
    }
    if let Some(guidance) = found.guidance {
        draft.lines.number("guidance", guidance);
    }
    if let Some(sampler) = found.sampler {
        draft.lines.text_key("sampler", sampler.word());
    }
}

fn put_model(here: &Here, found: &FoundSettings, draft: &mut Draft) -> Result<(), ConfigError> {
    let called = found.model.as_deref().unwrap_or_default();
    let is_called = |name: &&str| !name.is_empty() && name.eq_ignore_ascii_case(called);
    if let Some(name) = here.config.model_names().find(is_called) {
        draft.lines.text_key("model", name);
        return Ok(());
    }
    let ours = here.config.describe_model()?.name;
    if called == ours {
        let text = format!("whether its model is this {ours} is not known: it tells no hash of it");
        draft.differs(DifferenceKind::Model, text);
        return Ok(());
    }
    let theirs = match called {
        "" => "a model that it does not name".to_owned(),
        called => format!("the model {called}"),
    };
    draft.differs(DifferenceKind::Model, format!("{theirs} made it; here it is {ours}"));
    Ok(())
}
