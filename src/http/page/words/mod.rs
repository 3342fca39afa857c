//! What the pages say, in two languages. A text that one of them lacks does not compile.

mod chinese;
mod chinese_sentences;
mod english;
mod field;
mod sentences;

pub use self::chinese::CHINESE;
pub use self::english::ENGLISH;
use self::sentences::Sentences;
use crate::attempt::Outcome;
use crate::job::state::State;
use crate::ladder::Stage;
use crate::moment::TimeUnits;

/// The texts of all pages in one language.
pub struct Words {
    /// As BCP 47 has it, for the document and the cookie.
    pub tag: &'static str,
    /// How the language calls itself.
    pub name: &'static str,
    /// What is told before a message in English; `None` in English itself.
    pub sentences: Option<&'static Sentences>,
    pub units: TimeUnits,

    pub create: &'static str,
    pub queue: &'static str,
    pub gallery: &'static str,
    pub history: &'static str,
    pub seconds_title: &'static str,
    pub by_day: &'static str,
    pub day: &'static str,
    pub busy: &'static str,
    pub memory: &'static str,
    pub system: &'static str,
    pub skip: &'static str,
    pub light: &'static str,
    pub dark: &'static str,
    pub keys: &'static str,
    pub keys_list: &'static str,
    pub keys_pages: &'static str,
    pub keys_field: &'static str,
    pub keys_neighbours: &'static str,
    pub keys_star: &'static str,
    pub keys_send: &'static str,
    pub keys_single: &'static str,
    pub close: &'static str,
    pub notice: &'static str,
    pub queue_is_done: &'static str,

    pub idle: &'static str,
    pub loading: &'static str,
    pub released: &'static str,
    pub no_worker: &'static str,
    pub held: &'static str,
    pub paused_hint: &'static str,
    pub rest_hint: &'static str,
    pub hold_hint: &'static str,
    pub down_hint: &'static str,
    pub model_hint: &'static str,
    pub not_here: &'static str,
    pub not_here_hint: &'static str,
    pub not_now: &'static str,
    pub not_now_hint: &'static str,
    pub not_done: &'static str,
    pub not_done_hint: &'static str,
    pub paused: &'static str,
    pub rendering: &'static str,
    pub step: &'static str,
    pub left: &'static str,
    pub waiting: &'static str,

    pub prompt: &'static str,
    pub is_wrong: &'static str,
    pub prompt_hint: &'static str,
    pub tokens: &'static str,
    pub tokens_of: &'static str,
    pub unread: &'static str,
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
    pub swap: &'static str,
    pub keep_ratio: &'static str,
    pub too_large: &'static str,
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
    pub afresh: &'static str,

    pub before_sending: &'static str,
    pub mend: &'static str,
    pub pictures: &'static str,
    pub picture: &'static str,
    pub pictures_column: &'static str,
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
    pub preview_later: &'static str,
    pub all_done_at: &'static str,
    /// Before the job that ends last, in the middle of a sentence.
    pub with_the_last: &'static str,
    /// Before a time, in the middle of a sentence: when all is done but jobs that wait for a time of
    /// their own.
    pub sooner_done_at: &'static str,
    /// Before a job's number, in the middle of a sentence.
    pub job_named: &'static str,
    pub pause: &'static str,
    pub resume: &'static str,
    pub pause_reason: &'static str,
    pub cancel: &'static str,
    pub cancel_all: &'static str,
    pub cancel_all_surely: &'static str,
    pub retry: &'static str,
    pub first: &'static str,
    pub sooner: &'static str,
    pub later: &'static str,
    pub job: &'static str,
    pub file: &'static str,
    pub state: &'static str,
    pub done_count: &'static str,
    pub ends: &'static str,
    pub ended: &'static str,
    pub begun: &'static str,
    pub seconds: &'static str,
    /// Of what nobody has measured.
    pub unknown: &'static str,
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
    pub stopping: &'static str,
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
    pub next_rung: &'static str,
    pub text_encoding: &'static str,
    pub denoising: &'static str,
    pub decoding: &'static str,
    pub writing: &'static str,
    pub model: &'static str,
    pub model_hash: &'static str,
    pub device: &'static str,
    pub attempts: &'static str,
    pub outcome: &'static str,
    pub out_of_memory: &'static str,
    pub crashed: &'static str,
    pub interrupted: &'static str,
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
    pub meaning: &'static str,
    pub request: &'static str,
    pub body: &'static str,
    pub answer: &'static str,
    pub parameters: &'static str,
    pub open_webui_setting: &'static str,
    pub silly_tavern_setting: &'static str,

    pub worker: &'static str,
    pub process: &'static str,
    pub used: &'static str,
    pub load_time: &'static str,
    pub release: &'static str,
    pub load: &'static str,
    pub version: &'static str,
    pub about: &'static str,
    pub licence: &'static str,
    pub third_party: &'static str,
    pub stages_title: &'static str,
    pub as_csv: &'static str,
    pub folders: &'static str,
    pub free: &'static str,
    pub log: &'static str,
    pub settings: &'static str,
    pub default: &'static str,
    pub miniature: &'static str,
}

/// All languages, the first one for whoever reads none of them.
pub const LANGUAGES: [&Words; 2] = [&ENGLISH, &CHINESE];

impl Words {
    /// The word for a state; `stopping` where it was cancelled and still runs.
    pub fn state(&self, state: State, stopping: bool) -> &'static str {
        match state {
            _ if stopping => self.stopping,
            State::Queued => self.queued,
            State::Running => self.running,
            State::Done => self.done,
            State::Failed => self.failed,
            State::Cancelled => self.cancelled,
        }
    }

    pub fn outcome(&self, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Running => self.running,
            Outcome::Done => self.done,
            Outcome::OutOfMemory => self.out_of_memory,
            Outcome::Crashed => self.crashed,
            Outcome::Interrupted => self.interrupted,
            Outcome::Cancelled => self.cancelled,
            Outcome::Failed => self.failed,
        }
    }

    /// `0.25 s`
    pub fn hundredths(&self, ms: i64) -> String {
        format!("{:.2} {}", ms as f64 / 1000.0, self.units.seconds)
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
