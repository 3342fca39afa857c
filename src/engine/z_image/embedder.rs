//! Prompts to embeddings: those that are kept, and new ones by the text encoder.

use std::path::Path;

use super::prompt::{PromptTokens, Tokenizer};
use crate::engine::cache::Values;
use crate::engine::embeddings::{Embeddings, IN_MEMORY_MAX};
use crate::engine::{Backend, EngineError, Result};
use crate::ladder::Residency;

/// Prompts that are encoded in one pass: as many as are kept in memory, so that none is lost where
/// they cannot be kept on disk.
pub const TOGETHER_MAX: usize = IN_MEMORY_MAX;

/// So many prompts are looked at: those of a render, and those that come next.
const PROMPTS_LOOKED_AT_MAX: usize = 2 + TOGETHER_MAX;

/// Prompts up to this length go with any other. A longer one only with one that is as long, so that
/// it does not need more memory than was planned.
pub const TOKENS_TOGETHER: usize = 128;

/// Whether prompts that come later are to be encoded with the first one: on a card whose text
/// encoder is not resident all of the time goes into bringing its layers there. On a processor, a
/// card's host too, the arithmetic takes most of it, and the first prompt would wait for the
/// others.
pub fn encodes_ahead(backend: Backend, residency: Residency) -> bool {
    let on_card = backend == Backend::Cuda && residency != Residency::Host;
    on_card && residency.releases_text_encoder()
}

/// A model's tokenizer, and the embeddings that its text encoder made.
pub struct Embedder {
    tokenizer: Tokenizer,
    embeddings: Embeddings,
    /// Prompts that come next, as far as anybody knows.
    expected: Vec<String>,
}

impl Embedder {
    /// `encoder` is the fingerprint of the text encoder's files.
    pub fn new(tokenizer: Tokenizer, encoder: String) -> Embedder {
        Embedder { tokenizer, embeddings: Embeddings::new(encoder), expected: Vec::new() }
    }

    /// Keeps the embeddings in `folder`, for other workers too.
    pub fn keep_in(&mut self, folder: &Path) {
        self.embeddings.keep_in(folder);
    }

    /// What the text encoder sees of `prompt`.
    pub fn tokens(&self, prompt: &str) -> Result<PromptTokens> {
        tokens_of(&self.tokenizer, prompt)
    }

    /// These come next: [`Embedder::encode_ahead`] takes them in.
    pub fn expect(&mut self, prompts: Vec<String>) {
        self.expected = prompts;
    }

    /// Has `encode` encode those of `prompts` that are new, and expected ones with them, in one
    /// pass. Does nothing where none of `prompts` is new.
    pub fn encode_ahead(
        &mut self,
        prompts: &[&str],
        dtype: &str,
        encode: impl FnOnce(&[&[u32]]) -> Result<Vec<Values>>,
    ) -> Result<()> {
        if prompts.iter().all(|prompt| self.embeddings.has(prompt, dtype)) {
            return Ok(());
        }
        let mut new: Vec<(String, Vec<u32>)> = Vec::new();
        let mut longest = TOKENS_TOGETHER;
        let expected = self.expected.iter().map(|prompt| (prompt.as_str(), false));
        let wanted = prompts.iter().map(|prompt| (*prompt, true));
        for (prompt, is_wanted) in wanted.chain(expected).take(PROMPTS_LOOKED_AT_MAX) {
            let is_known = new.iter().any(|(known, _)| known == prompt);
            if new.len() == TOGETHER_MAX || is_known || self.embeddings.has(prompt, dtype) {
                continue;
            }
            let ids = self.tokens(prompt)?.ids;
            if is_wanted {
                longest = longest.max(ids.len());
            }
            if ids.len() <= longest {
                new.push((prompt.to_owned(), ids));
            }
        }
        let encoded = encode(&new.iter().map(|(_, ids)| ids.as_slice()).collect::<Vec<_>>())?;
        // What is wanted first is kept last: of those in memory the oldest goes first.
        for ((prompt, _), values) in new.iter().zip(encoded).rev() {
            self.embeddings.keep(prompt, dtype, values);
        }
        Ok(())
    }

    /// The embedding of `prompt`, known or made by `encode`: (tokens, hidden).
    pub fn embed(
        &mut self,
        prompt: &str,
        dtype: &str,
        encode: impl FnOnce(&[&[u32]]) -> Result<Vec<Values>>,
    ) -> Result<Values> {
        let tokenizer = &self.tokenizer;
        self.embeddings.get(prompt, dtype, || {
            let embedding = encode(&[&tokens_of(tokenizer, prompt)?.ids])?.pop();
            embedding.ok_or_else(|| EngineError::Fatal("no embedding for a prompt".into()))
        })
    }
}

fn tokens_of(tokenizer: &Tokenizer, prompt: &str) -> Result<PromptTokens> {
    tokenizer.encode(prompt).map_err(EngineError::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedder(expected: &[&str]) -> Embedder {
        let tokenizer = Tokenizer::read(None).expect("the program's");
        let mut embedder = Embedder::new(tokenizer, "a".to_owned());
        embedder.expect(expected.iter().map(|prompt| (*prompt).to_owned()).collect());
        embedder
    }

    /// Stands for the text encoder: tells a prompt by how many tokens it has.
    fn encode(prompts: &[&[u32]]) -> Result<Vec<Values>> {
        let of = |ids: &&[u32]| Values { shape: vec![1, 1], values: vec![ids.len() as f32] };
        Ok(prompts.iter().map(of).collect())
    }

    fn never(_: &[&[u32]]) -> Result<Vec<Values>> {
        Err(EngineError::Fatal("encoded what was known".into()))
    }

    #[test]
    fn a_card_alone_encodes_ahead_and_only_where_it_reads_the_text_encoder_for_it() {
        let streamed = Residency::Streamed { resident_blocks: 3 };
        for (residency, on_a_card) in [
            (Residency::Device, false),
            (Residency::TextReleased, true),
            (streamed, true),
            (Residency::Host, false),
        ] {
            assert_eq!(encodes_ahead(Backend::Cuda, residency), on_a_card);
            assert!(!encodes_ahead(Backend::Cpu { threads: 2, bf16: false }, residency));
        }
    }

    #[test]
    fn what_comes_next_is_encoded_with_the_first_new_prompt() {
        let long = "fox ".repeat(2 * TOKENS_TOGETHER);
        let mut embedder = embedder(&["a fox", &long, "a red fox in the snow", "a fox"]);
        let mut together = 0;
        let counted = |prompts: &[&[u32]]| {
            together = prompts.len();
            encode(prompts)
        };
        embedder.encode_ahead(&["a cat", "ugly"], "F32", counted).expect("embeddings");
        assert_eq!(together, 4);
        for prompt in ["a cat", "ugly", "a fox", "a red fox in the snow"] {
            let tokens = embedder.tokens(prompt).expect("tokens").ids.len() as f32;
            assert_eq!(embedder.embed(prompt, "F32", never).expect("known").values, [tokens]);
        }
        assert!(embedder.embed(&long, "F32", never).is_err());
    }

    #[test]
    fn nothing_is_encoded_ahead_of_a_prompt_that_is_known() {
        let mut embedder = embedder(&["a fox"]);
        embedder.embed("a cat", "F32", encode).expect("an embedding");
        embedder.encode_ahead(&["a cat"], "F32", never).expect("nothing to do");
    }

    #[test]
    fn no_more_is_encoded_together_than_memory_keeps() {
        let many: Vec<String> = (0..2 * TOGETHER_MAX).map(|nth| format!("{nth} foxes")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut embedder = embedder(&many);
        embedder.encode_ahead(&["a cat"], "F32", encode).expect("embeddings");
        for prompt in ["a cat"].iter().chain(&many[..TOGETHER_MAX - 1]) {
            embedder.embed(prompt, "F32", never).expect("known");
        }
        assert!(embedder.embed(many[TOGETHER_MAX - 1], "F32", never).is_err());
    }
}
