//! From a prompt to token ids: the chat template, the tokenizer, the cut.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::wrong_file::refuse;
use crate::engine::ModelError;
use crate::files;

/// The text encoder sees no more tokens than this, template included.
pub const TOKENS_MAX: usize = 512;

/// Turbo's file has 11 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A longer prompt is cut before the tokenizer sees it, because its work grows with the text. So
/// many bytes always have more than [`TOKENS_MAX`] tokens.
pub const PROMPT_BYTES_MAX: usize = 64 << 10;

/// A prompt as the text encoder takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    pub ids: Vec<u32>,
    /// Whether the prompt was too long, so that its end is not in `ids`.
    pub cut: bool,
}

/// How much of a prompt the text encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptExtent {
    /// All of the prompt's tokens, template included; more than [`TOKENS_MAX`] are cut.
    pub tokens: usize,
    /// So many bytes of the prompt, from its beginning, are read.
    pub read_bytes: usize,
}

/// Qwen3's tokenizer, which all models of the family have: for those whose files bring none.
const OF_QWEN3: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/qwen3/tokenizer.json.gz"));

/// The program's tokenizer as its file is.
pub fn json_of_program() -> Result<Vec<u8>, ModelError> {
    let mut json = Vec::new();
    let unpacked = GzDecoder::new(OF_QWEN3).take(FILE_BYTES_MAX).read_to_end(&mut json);
    unpacked.map_err(|error| wrong_in_program(&error))?;
    Ok(json)
}

fn wrong_in_program(error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Wrong(format!("the tokenizer in the program: {error}"))
}

/// A tokenizer with Z-Image's template.
pub struct Tokenizer(tokenizers::Tokenizer);

impl Tokenizer {
    /// That in the folder `hub` of the hub's layout, or that of the program where there is no such
    /// folder. Errors name the file.
    pub fn read(hub: Option<&Path>) -> Result<Tokenizer, ModelError> {
        match hub {
            Some(hub) => Tokenizer::of_file(&hub.join("tokenizer/tokenizer.json")),
            None => Tokenizer::of_program(),
        }
    }

    fn of_program() -> Result<Tokenizer, ModelError> {
        let tokenizer = tokenizers::Tokenizer::from_bytes(json_of_program()?);
        tokenizer.map(Tokenizer).map_err(|error| wrong_in_program(&error))
    }

    fn of_file(path: &Path) -> Result<Tokenizer, ModelError> {
        refuse(path)?;
        let file = files::read_whole(path, FILE_BYTES_MAX)
            .map_err(|error| ModelError::of_io(path, &error))?;
        let tokenizer = tokenizers::Tokenizer::from_bytes(file);
        tokenizer.map(Tokenizer).map_err(|error| ModelError::wrong(path, error))
    }

    /// Template and tokens, cut on the right at [`TOKENS_MAX`].
    pub fn encode(&self, prompt: &str) -> Result<PromptTokens, String> {
        let kept = kept(prompt);
        let encoding = self.0.encode_fast(template(kept), false).map_err(told)?;
        let ids = encoding.get_ids();
        Ok(PromptTokens {
            ids: ids[..ids.len().min(TOKENS_MAX)].to_vec(),
            cut: kept.len() < prompt.len() || ids.len() > TOKENS_MAX,
        })
    }

    /// Where [`Tokenizer::encode`] cuts the prompt, and how long it would be uncut.
    pub fn extent(&self, prompt: &str) -> Result<PromptExtent, String> {
        let kept = kept(prompt);
        // Unlike the fast way, this one tells where each token stands.
        let encoding = self.0.encode(template(kept), false).map_err(told)?;
        let first_unread = encoding.get_offsets().get(TOKENS_MAX).map(|(begin, _)| *begin);
        let read_bytes = match first_unread {
            Some(begin) => begin.saturating_sub(BEFORE_PROMPT.len()).min(kept.len()),
            None => kept.len(),
        };
        let read_bytes = kept.floor_char_boundary(read_bytes);
        Ok(PromptExtent { tokens: encoding.len(), read_bytes })
    }
}

/// As much of the prompt as the tokenizer is given.
fn kept(prompt: &str) -> &str {
    &prompt[..prompt.floor_char_boundary(PROMPT_BYTES_MAX)]
}

fn told(error: tokenizers::Error) -> String {
    format!("the tokenizer: {error}")
}

/// Qwen's chat template for one user message, with thinking enabled.
pub fn template(prompt: &str) -> String {
    format!("{BEFORE_PROMPT}{prompt}<|im_end|>\n<|im_start|>assistant\n")
}

const BEFORE_PROMPT: &str = "<|im_start|>user\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_qwens_tokenizer() {
        let tokenizer = Tokenizer::read(None).expect("the program's");
        let tokens = tokenizer.encode("a red fox").expect("tokens").ids;
        // <|im_start|> user \n a red fox <|im_end|> \n <|im_start|> assistant \n
        assert_eq!(tokens, [151644, 872, 198, 64, 2518, 38835, 151645, 198, 151644, 77091, 198]);
    }

    #[test]
    fn what_is_read_of_a_prompt_ends_where_its_tokens_are_cut() {
        let tokenizer = Tokenizer::read(None).expect("the program's");
        let extent = |prompt: &str| tokenizer.extent(prompt).expect("tokens");
        assert_eq!(extent("a red fox"), PromptExtent { tokens: 11, read_bytes: 9 });
        for word in ["fox ", "雪山"] {
            let long = word.repeat(600);
            let PromptExtent { tokens, read_bytes } = extent(&long);
            assert!(tokens > TOKENS_MAX && read_bytes < long.len(), "{tokens} {read_bytes}");
            let read = &long[..read_bytes];
            let cut = tokenizer.encode(&long).expect("tokens").ids;
            let whole = tokenizer.encode(read).expect("tokens").ids;
            assert_eq!(whole[..cut.len().min(whole.len() - 5)], cut[..whole.len() - 5], "{word}");
        }
    }

    #[test]
    fn a_tokenizer_that_was_not_downloaded_is_told_from_a_wrong_one() {
        let model = tempfile::tempdir().unwrap();
        std::fs::create_dir(model.path().join("tokenizer")).unwrap();
        let write = |text: &str| {
            std::fs::write(model.path().join("tokenizer/tokenizer.json"), text).unwrap()
        };
        let error = || Tokenizer::read(Some(model.path())).err().expect("no tokenizer").to_string();
        assert!(error().contains("tokenizer/tokenizer.json: No such file"), "{}", error());
        write("version https://git-lfs.github.com/spec/v1\noid sha256:aeb1\nsize 11422654\n");
        assert!(error().contains("git lfs pull"), "{}", error());
        write("{");
        assert!(!error().contains("git lfs pull"), "{}", error());
    }
}
