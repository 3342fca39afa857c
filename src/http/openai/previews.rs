//! Which previews of a picture are sent: so many at most, spread over its steps.

use crate::status::RenderStatus;

/// What was sent of the picture that is being made.
#[derive(Debug, Default)]
pub struct SentPreviews {
    /// Of each picture.
    max: u32,
    /// Its position in the job.
    picture: u32,
    /// How many of it.
    sent: u32,
    /// Which part of its steps was done when that was sent, see [`SentPreviews::part`].
    part: u32,
    /// The last one itself.
    last: Vec<u8>,
}

impl SentPreviews {
    pub fn new(max: u32) -> SentPreviews {
        SentPreviews { max, ..SentPreviews::default() }
    }

    /// Whether a preview of the running picture is to be sent now, if there is a new one.
    pub fn is_due(&mut self, render: &RenderStatus) -> bool {
        if self.picture != render.index {
            *self = SentPreviews { picture: render.index, ..SentPreviews::new(self.max) };
        }
        self.sent < self.max && self.part(render) > self.part
    }

    /// Takes note of a preview that is sent. The position of it among those of its picture; `None`
    /// where it was sent before.
    pub fn take(&mut self, render: &RenderStatus, preview: &[u8]) -> Option<u32> {
        if self.last == preview {
            return None;
        }
        self.last = preview.to_vec();
        self.part = self.part(render);
        self.sent += 1;
        Some(self.sent - 1)
    }

    /// How many of the equal parts of its steps are done: there is one more of them than previews,
    /// so that each preview lies between two.
    fn part(&self, render: &RenderStatus) -> u32 {
        render.step * (self.max + 1) / render.steps.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::lora::Loras;

    fn at(index: u32, step: u32, steps: u32) -> RenderStatus {
        RenderStatus {
            job_id: 1,
            index,
            rung: String::new(),
            stage: None,
            step,
            steps,
            predicted_bytes: 0,
            missing_bytes: 0,
            lora: Loras::default(),
        }
    }

    /// The steps of picture `index` at which a preview is sent, where each step has one of its own.
    fn sent(previews: &mut SentPreviews, index: u32, steps: u32) -> Vec<u32> {
        let is_sent = |step: &u32| {
            let render = at(index, *step, steps);
            let preview = [index as u8, *step as u8];
            previews.is_due(&render) && previews.take(&render, &preview).is_some()
        };
        (0..=steps).filter(is_sent).collect()
    }

    #[test]
    fn previews_are_spread_over_the_steps_of_each_picture() {
        for (max, steps, expected) in [
            (0, 8, &[][..]),
            (1, 8, &[4]),
            (2, 8, &[3, 6]),
            (3, 8, &[2, 4, 6]),
            (3, 50, &[13, 25, 38]),
            (3, 2, &[1, 2]),
            (3, 0, &[]),
        ] {
            let mut previews = SentPreviews::new(max);
            assert_eq!(sent(&mut previews, 1, steps), expected, "{max} of {steps}");
            assert_eq!(sent(&mut previews, 2, steps), expected, "the next picture has its own");
        }
    }

    #[test]
    fn none_is_sent_twice_and_one_that_comes_late_is_sent_then() {
        let mut previews = SentPreviews::new(2);
        assert!(previews.is_due(&at(1, 5, 8)));
        assert_eq!(previews.take(&at(1, 5, 8), b"first"), Some(0));
        assert!(!previews.is_due(&at(1, 5, 8)), "a third is done, and shown");
        assert!(previews.is_due(&at(1, 6, 8)));
        assert_eq!(previews.take(&at(1, 6, 8), b"first"), None, "nothing new");
        assert!(previews.is_due(&at(1, 8, 8)), "it is still owed");
        assert_eq!(previews.take(&at(1, 8, 8), b"second"), Some(1));
        assert!(!previews.is_due(&at(1, 8, 8)));
    }

    #[test]
    fn an_attempt_that_begins_again_does_not_show_more() {
        let mut previews = SentPreviews::new(1);
        assert_eq!(sent(&mut previews, 1, 8), [4]);
        assert!(sent(&mut previews, 1, 8).is_empty());
    }
}
