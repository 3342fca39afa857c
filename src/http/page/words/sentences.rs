//! What the daemon says in English in every language (why a render has failed, why nothing is
//! started, what is hardly meant in a job, what is wrong in one), told by its kind in the page's own
//! language. The English detail stands behind it.

use maud::{Markup, html};

use super::Words;
use crate::attempt::ErrorCode;
use crate::job::warning::Warning;
use crate::status::{HoldKind, ModelTrouble, WorkerEnd};

/// A sentence for each kind: what it is, and what to do.
pub struct Sentences {
    pub out_of_memory: &'static str,
    pub crashed_worker: &'static str,
    pub bad_picture: &'static str,
    pub invalid: &'static str,
    pub output: &'static str,

    pub held_by_database: &'static str,
    pub held_by_outputs: &'static str,
    pub quiet_hours: &'static str,
    pub card_ceiling: &'static str,

    pub worker_died: &'static str,
    pub worker_out_of_memory: &'static str,
    pub model_not_loaded: &'static str,
    pub model_files_wrong: &'static str,
    pub model_unnamed: &'static str,

    pub without_guidance: &'static str,
    pub unwanted_guidance: &'static str,
    pub many_steps: &'static str,
    pub long_seed: &'static str,
    pub equal_pictures: &'static str,
    pub equal_names: &'static str,
    pub foreign_syntax: &'static str,
    pub cut_prompt: &'static str,
    pub long_wait: &'static str,
    pub passed_begin: &'static str,
    pub other_clock: &'static str,
    pub unread_configuration: &'static str,
    pub may_sleep: &'static str,
    pub late_end: &'static str,
    pub memory: &'static str,

    /// What may stand in the field of each key of a job.
    pub keys: &'static [(&'static str, &'static str)],
    /// Of a mistake at any other key, or at none.
    pub other_mistake: &'static str,
    pub set_aside: &'static str,
}

impl Words {
    /// Why a render has failed, and what to do.
    pub fn failure(&self, code: Option<ErrorCode>) -> Option<&'static str> {
        let sentences = self.sentences?;
        Some(match code? {
            ErrorCode::OutOfMemory => sentences.out_of_memory,
            ErrorCode::CrashedWorker => sentences.crashed_worker,
            ErrorCode::BadPicture => sentences.bad_picture,
            ErrorCode::Invalid => sentences.invalid,
            ErrorCode::Output => sentences.output,
        })
    }

    /// Why nothing is started, and what to do.
    pub fn hold(&self, kind: Option<HoldKind>) -> Option<&'static str> {
        let sentences = self.sentences?;
        Some(match kind? {
            HoldKind::Database => sentences.held_by_database,
            HoldKind::Outputs => sentences.held_by_outputs,
            HoldKind::QuietHours => sentences.quiet_hours,
            HoldKind::CardCeiling => sentences.card_ceiling,
        })
    }

    /// Why there is no worker, and what to do.
    pub fn worker_end(&self, end: WorkerEnd) -> Option<&'static str> {
        let sentences = self.sentences?;
        Some(match end {
            WorkerEnd::Died => sentences.worker_died,
            WorkerEnd::OutOfMemory => sentences.worker_out_of_memory,
            WorkerEnd::NotLoaded => sentences.model_not_loaded,
            WorkerEnd::WrongModel => sentences.model_files_wrong,
        })
    }

    /// Why a model cannot be used, and what to do.
    pub fn model_trouble(&self, trouble: ModelTrouble) -> Option<&'static str> {
        let sentences = self.sentences?;
        Some(match trouble {
            ModelTrouble::NotLoaded => sentences.model_not_loaded,
            ModelTrouble::WrongFiles => sentences.model_files_wrong,
            ModelTrouble::Unnamed => sentences.model_unnamed,
        })
    }

    /// What is hardly meant, and what to do.
    pub fn warning(&self, warning: &Warning) -> Option<&'static str> {
        let sentences = self.sentences?;
        Some(match warning {
            Warning::WithoutGuidance { .. } => sentences.without_guidance,
            Warning::UnwantedGuidance { .. } => sentences.unwanted_guidance,
            Warning::ManySteps { .. } => sentences.many_steps,
            Warning::LongSeed { .. } => sentences.long_seed,
            Warning::EqualPictures { .. } => sentences.equal_pictures,
            Warning::EqualNames { .. } => sentences.equal_names,
            Warning::ForeignSyntax { .. } => sentences.foreign_syntax,
            Warning::CutPrompt { .. } => sentences.cut_prompt,
            Warning::LongWait { .. } => sentences.long_wait,
            Warning::PassedBegin => sentences.passed_begin,
            Warning::OtherClock { .. } => sentences.other_clock,
            Warning::UnreadConfiguration { .. } => sentences.unread_configuration,
            Warning::MaySleep { .. } => sentences.may_sleep,
            Warning::LateEnd { .. } => sentences.late_end,
            Warning::Memory { .. } => sentences.memory,
        })
    }

    /// A message that is in English in every language, for whoever reads it aloud.
    pub fn in_english(&self, message: impl std::fmt::Display) -> Markup {
        let is_other = self.sentences.is_some();
        html! { @if is_other { span lang="en" { (message) } } @else { (message) } }
    }

    /// What would be right at a `key` of a job.
    pub fn right(&self, key: Option<&str>) -> Option<&'static str> {
        let sentences = self.sentences?;
        let key = key.map(|key| key.split(['.', '[']).next().unwrap_or(key));
        let known = sentences.keys.iter().find(|(known, _)| Some(*known) == key);
        Some(known.map_or(sentences.other_mistake, |(_, right)| right))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{CHINESE, ENGLISH};
    use super::*;

    const CODES: [ErrorCode; 5] = [
        ErrorCode::OutOfMemory,
        ErrorCode::CrashedWorker,
        ErrorCode::BadPicture,
        ErrorCode::Invalid,
        ErrorCode::Output,
    ];

    fn is_chinese(sentence: &str) -> bool {
        sentence.ends_with('。') && sentence.chars().any(|c| ('一'..='龥').contains(&c))
    }

    #[test]
    fn each_kind_of_failure_has_a_sentence_of_its_own_where_messages_are_in_another_language() {
        let sentences: BTreeSet<_> =
            CODES.iter().filter_map(|code| CHINESE.failure(Some(*code))).collect();
        assert_eq!(sentences.len(), CODES.len());
        assert!(sentences.iter().all(|sentence| is_chinese(sentence)), "{sentences:?}");
        assert_eq!((CHINESE.failure(None), ENGLISH.failure(Some(CODES[0]))), (None, None));
    }

    #[test]
    fn why_nothing_is_started_has_a_sentence_of_its_own_for_each_kind() {
        use HoldKind::{CardCeiling, Database, Outputs, QuietHours};
        use WorkerEnd::{Died, NotLoaded, OutOfMemory, WrongModel};
        let holds = [Database, Outputs, QuietHours, CardCeiling];
        let ends = [Died, OutOfMemory, NotLoaded, WrongModel];
        let of_holds = holds.iter().map(|kind| CHINESE.hold(Some(*kind)));
        let told = of_holds.chain(ends.iter().map(|end| CHINESE.worker_end(*end)));
        let told: BTreeSet<_> =
            told.chain([CHINESE.model_trouble(ModelTrouble::Unnamed)]).flatten().collect();
        assert_eq!(told.len(), holds.len() + ends.len() + 1);
        assert!(told.iter().all(|sentence| is_chinese(sentence)), "{told:?}");
        let files = CHINESE.model_trouble(ModelTrouble::WrongFiles);
        assert_eq!(files, CHINESE.worker_end(WrongModel), "the same, whoever says it");
        assert_eq!((CHINESE.hold(None), ENGLISH.hold(Some(Outputs))), (None, None));
    }

    #[test]
    fn a_mistake_is_told_by_its_key_in_whatever_table_that_stands() {
        let width = CHINESE.right(Some("width")).expect("a sentence");
        assert!(is_chinese(width) && CHINESE.right(Some("xyzzy")) != Some(width), "{width}");
        assert_eq!(CHINESE.right(Some("matrix.width")), CHINESE.right(Some("matrix")));
        assert_eq!(CHINESE.right(None), CHINESE.right(Some("xyzzy")));
        assert_eq!(ENGLISH.right(Some("width")), None);
    }
}
