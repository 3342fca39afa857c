//! Follows one attempt: tells the supervisor of stages and steps, measures them, passes a stop on
//! to the engine.

use std::time::{Duration, Instant};

use super::Stop;
use super::events::Events;
use super::preview::Previews;
use crate::attempt::{Measured, Reached};
use crate::engine::{Continue, Latents, MemoryReading, Progress, Stage};
use crate::worker::last_word;
use crate::worker::protocol::WorkerEvent;

/// The progress of one attempt.
pub struct Tracker<'a> {
    attempt_id: i64,
    events: &'a Events,
    stop: &'a Stop,
    start: Instant,
    stage_start: Instant,
    step_start: Instant,
    /// `None` until the engine begins its first.
    pub stage: Option<Stage>,
    pub measured: Measured,
    pub previews: &'a mut Previews,
}

impl<'a> Tracker<'a> {
    pub fn new(
        attempt_id: i64,
        events: &'a Events,
        stop: &'a Stop,
        previews: &'a mut Previews,
    ) -> Self {
        let start = Instant::now();
        Tracker {
            attempt_id,
            events,
            stop,
            start,
            stage_start: start,
            step_start: start,
            stage: None,
            measured: Measured::default(),
            previews,
        }
    }

    /// The attempt has ended; `memory` is as its last stage left it.
    pub fn end(&mut self, memory: MemoryReading) {
        self.end_stage(memory);
        self.measured.timings.total_ms = millis(self.start.elapsed());
    }

    fn end_stage(&mut self, memory: MemoryReading) {
        let ms = millis(self.stage_start.elapsed());
        let Measured { timings, peaks, .. } = &mut self.measured;
        match self.stage {
            Some(Stage::TextEncode) => {
                timings.text_encode_ms = ms;
                peaks.text_encode_bytes = memory.peak_bytes;
            }
            Some(Stage::Denoise) => {
                // It begins a second time where a picture was encoded first.
                timings.denoise_ms += ms;
                peaks.denoise_bytes = peaks.denoise_bytes.max(memory.peak_bytes);
            }
            Some(Stage::VaeDecode) => {
                timings.vae_decode_ms = ms;
                peaks.vae_decode_bytes = memory.peak_bytes;
            }
            Some(Stage::PictureEncode) => timings.picture_encode_ms = ms,
            Some(Stage::Load) | None => {}
        }
    }

    fn may_continue(&self) -> Continue {
        if self.stop.asked(self.attempt_id) { Continue::No } else { Continue::Yes }
    }
}

impl Progress for Tracker<'_> {
    fn stage(&mut self, stage: Stage, before: MemoryReading) -> Continue {
        self.end_stage(before);
        self.stage = Some(stage);
        self.stage_start = Instant::now();
        self.step_start = self.stage_start;
        last_word::tell(self.attempt_id, Reached { stage: Some(stage), step: 0 });
        self.events.send(&WorkerEvent::Stage { attempt_id: self.attempt_id, stage });
        self.may_continue()
    }

    fn step(&mut self, step: u32, steps: u32) -> Continue {
        self.measured.timings.step_ms.push(millis(self.step_start.elapsed()));
        self.step_start = Instant::now();
        last_word::tell(self.attempt_id, Reached { stage: self.stage, step });
        self.events.send(&WorkerEvent::Step { attempt_id: self.attempt_id, step, steps });
        self.may_continue()
    }

    fn look(&mut self, latents: &mut dyn FnMut() -> Option<Latents>) {
        self.previews.look(latents);
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
