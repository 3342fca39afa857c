//! What the pages say, in two languages. A text that one of them lacks does not compile.

mod chinese;
mod english;

pub use self::chinese::CHINESE;
pub use self::english::ENGLISH;
use crate::job::state::State;
use crate::ladder::Stage;

/// The texts of all pages in one language.
pub struct Words {
    /// As BCP 47 has it, for the document and the cookie.
    pub tag: &'static str,
    /// How the language calls itself.
    pub name: &'static str,

    pub create: &'static str,
    pub queue: &'static str,
    pub gallery: &'static str,
    pub history: &'static str,
    pub seconds_title: &'static str,
    pub memory: &'static str,
    pub system: &'static str,
    pub skip: &'static str,
    pub light: &'static str,
    pub dark: &'static str,

    pub idle: &'static str,
    pub loading: &'static str,
    pub released: &'static str,
    pub no_worker: &'static str,
    pub held: &'static str,
    pub paused: &'static str,
    pub rendering: &'static str,
    pub step: &'static str,
    pub left: &'static str,
    pub waiting: &'static str,

    pub prompt: &'static str,
    pub prompt_hint: &'static str,
    pub one_a_line: &'static str,
    pub from_picture: &'static str,
    pub from_picture_hint: &'static str,
    pub negative_prompt: &'static str,
    pub negative_hint: &'static str,
    pub size: &'static str,
    pub small_square: &'static str,
    pub own_size: &'static str,
    pub medium_square: &'static str,
    pub large_square: &'static str,
    pub landscape: &'static str,
    pub portrait: &'static str,
    pub width: &'static str,
    pub height: &'static str,
    /// Behind a number of them.
    pub of_steps: &'static str,
    pub steps: &'static str,
    pub guidance: &'static str,
    pub turbo_hint: &'static str,
    pub seed: &'static str,
    pub random: &'static str,
    pub count: &'static str,
    pub none: &'static str,
    pub lora_weight: &'static str,
    pub more_loras: &'static str,
    pub begin_with_picture: &'static str,
    pub init_image: &'static str,
    pub mask: &'static str,
    pub strength: &'static str,
    pub strength_hint: &'static str,
    pub was_sent: &'static str,
    pub advanced: &'static str,
    pub priority: &'static str,
    pub not_before: &'static str,
    pub not_after: &'static str,
    pub window: &'static str,
    pub time_hint: &'static str,
    pub on_oom: &'static str,
    pub downgrade: &'static str,
    pub offload: &'static str,
    pub fail: &'static str,
    pub precision: &'static str,
    pub as_configured: &'static str,
    pub full_precision: &'static str,
    pub int8: &'static str,
    pub sampler: &'static str,
    pub min_side: &'static str,
    pub min_steps: &'static str,
    pub format: &'static str,
    pub output: &'static str,
    pub tags: &'static str,
    pub tags_hint: &'static str,
    pub matrix: &'static str,
    pub matrix_hint: &'static str,
    pub wildcards: &'static str,
    pub submit: &'static str,

    pub before_sending: &'static str,
    pub mend: &'static str,
    pub pictures: &'static str,
    pub picture: &'static str,
    pub takes: &'static str,
    pub estimated: &'static str,
    pub tick_here: &'static str,
    pub done_at: &'static str,
    pub rung: &'static str,
    pub needs: &'static str,
    pub of_usable: &'static str,
    pub as_asked: &'static str,
    pub made_smaller: &'static str,
    pub does_not_fit: &'static str,
    pub no_device_yet: &'static str,
    pub as_toml: &'static str,
    pub as_command: &'static str,

    pub now: &'static str,
    pub jobs_waiting: &'static str,
    pub nothing_waits: &'static str,
    pub first_jobs: &'static str,
    pub preview: &'static str,
    pub all_done_at: &'static str,
    pub pause: &'static str,
    pub resume: &'static str,
    pub pause_reason: &'static str,
    pub cancel: &'static str,
    pub retry: &'static str,
    pub sooner: &'static str,
    pub later: &'static str,
    pub job: &'static str,
    pub file: &'static str,
    pub state: &'static str,
    pub ended: &'static str,
    pub seconds: &'static str,
    pub peak: &'static str,
    /// What it took of the card.
    pub card: &'static str,
    pub starts: &'static str,
    pub set_aside: &'static str,
    pub failed_lately: &'static str,
    pub failed_of_job: &'static str,
    pub retry_job: &'static str,

    pub queued: &'static str,
    pub running: &'static str,
    pub done: &'static str,
    pub failed: &'static str,
    pub cancelled: &'static str,

    pub search: &'static str,
    pub tag_word: &'static str,
    pub show: &'static str,
    pub only_smaller: &'static str,
    pub older: &'static str,
    pub no_pictures: &'static str,
    pub star: &'static str,
    pub only_starred: &'static str,
    pub choose: &'static str,
    pub until_day: &'static str,
    pub download_zip: &'static str,
    pub zip_hint: &'static str,
    pub newest: &'static str,
    pub first_picture: &'static str,

    pub asked: &'static str,
    pub made: &'static str,
    pub use_again: &'static str,
    pub download: &'static str,
    pub compare: &'static str,
    pub previous: &'static str,
    pub next: &'static str,
    pub text_encoding: &'static str,
    pub denoising: &'static str,
    pub decoding: &'static str,
    pub writing: &'static str,
    pub model: &'static str,
    pub device: &'static str,
    pub attempts: &'static str,
    pub outcome: &'static str,
    pub stage: &'static str,
    pub message: &'static str,

    pub fit_title: &'static str,
    pub fit_hint: &'static str,
    pub fit_miniature: &'static str,
    pub this_device: &'static str,
    pub predicted: &'static str,
    pub measured: &'static str,
    pub predicted_title: &'static str,
    pub falls: &'static str,
    pub no_falls: &'static str,
    pub asked_bytes: &'static str,
    pub none_yet: &'static str,
    pub reference_hint: &'static str,
    pub request: &'static str,
    pub body: &'static str,
    pub answer: &'static str,
    pub parameters: &'static str,

    pub worker: &'static str,
    pub process: &'static str,
    pub used: &'static str,
    pub load_time: &'static str,
    pub version: &'static str,
    pub folders: &'static str,
    pub log: &'static str,
    pub settings: &'static str,
    pub default: &'static str,
    pub miniature: &'static str,
}

/// All languages, the first one for whoever reads none of them.
pub const LANGUAGES: [&Words; 2] = [&ENGLISH, &CHINESE];

impl Words {
    pub fn state(&self, state: State) -> &'static str {
        match state {
            State::Queued => self.queued,
            State::Running => self.running,
            State::Done => self.done,
            State::Failed => self.failed,
            State::Cancelled => self.cancelled,
        }
    }

    /// So many pictures.
    pub fn count_of_pictures(&self, count: u64) -> String {
        let word = if count == 1 { self.picture } else { self.pictures };
        format!("{count} {word}")
    }

    pub fn stage(&self, stage: Stage) -> &'static str {
        match stage {
            Stage::Load => self.loading,
            Stage::TextEncode => self.text_encoding,
            Stage::Denoise => self.denoising,
            Stage::VaeDecode => self.decoding,
            Stage::PictureEncode => self.writing,
        }
    }
}
