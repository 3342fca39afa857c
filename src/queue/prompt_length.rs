//! How much of a prompt the model reads, for whoever types one.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::{
    self, EngineKind, ModelError, ModelPlace, PromptExtent, TOKENS_MAX, Tokenizer,
};
use crate::job::Render;

/// A prompt's length, as the model counts.
#[derive(Clone, Debug)]
pub struct PromptLength {
    /// All of its tokens.
    pub tokens: usize,
    /// As many as the model reads.
    pub tokens_max: usize,
    /// The end of the prompt that is not read; empty where all of it is.
    pub unread: String,
}

/// The length of the longest prompt of these renders, which are a job's and so of one model; `None`
/// where the model's tokenizer is not at hand.
pub fn longest_prompt(config: &Config, renders: &[Render]) -> Option<PromptLength> {
    let longest = renders.iter().max_by_key(|render| render.recipe.prompt.len())?;
    let prompt = &longest.recipe.prompt;
    let tokenizer = of_model(&config.with_model(&longest.model)?)?;
    let PromptExtent { tokens, read_bytes } = tokenizer.extent(prompt).ok()?;
    let unread = prompt[read_bytes..].to_owned();
    Some(PromptLength { tokens, tokens_max: TOKENS_MAX, unread })
}

/// The tokenizer of the configuration's model, where it has one that can be read.
pub(super) fn of_model(config: &Config) -> Option<Arc<Tokenizer>> {
    if config.engine != EngineKind::ZImage {
        return None;
    }
    // The texts of the miniature may lie in a folder that goes with them.
    let texts = config.model_texts().ok()?;
    kept(&texts.place()).ok()
}

/// The tokenizer that was asked last: to read that of Z-Image takes the better part of a second,
/// and a form asks whenever somebody stops typing.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

struct Kept {
    place: ModelPlace,
    tokenizer: Arc<Tokenizer>,
    used_at: Instant,
}

/// A tokenizer has a hundred megabytes: one that nobody has asked for so long is let go.
const UNUSED: Duration = Duration::from_secs(60);

fn kept(place: &ModelPlace) -> Result<Arc<Tokenizer>, ModelError> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = kept.as_mut().filter(|kept| kept.place == *place) {
        kept.used_at = Instant::now();
        return Ok(kept.tokenizer.clone());
    }
    let tokenizer = Arc::new(engine::tokenizer(place)?);
    let new = Kept { place: place.clone(), tokenizer: tokenizer.clone(), used_at: Instant::now() };
    // Where no thread can be had it is read anew the next time.
    if kept.is_some() || thread::Builder::new().spawn(let_go_when_unused).is_ok() {
        *kept = Some(new);
    }
    Ok(tokenizer)
}

fn let_go_when_unused() {
    loop {
        thread::sleep(UNUSED);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.used_at.elapsed() >= UNUSED) {
            return *kept = None;
        }
    }
}
