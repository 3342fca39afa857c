//! How fast pictures were made, and so how long others take.

use crate::store::{Effort, MadePicture};

/// So many times longer than its counted operations a picture may take on a device that is slower
/// than it was measured to be. What is beyond that does not grow with the picture.
const SLOWNESS_MAX: f64 = 2.0;

/// What a render asks of its device: milliseconds by counted operations or, of a device that nobody
/// measured, pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PictureWork {
    /// Of all steps.
    pub steps: f64,
    /// Of all the rest, which is mostly the decode and the same for any number of steps.
    pub rest: f64,
}

/// How fast the newest pictures were made of the model that was loaded last, on its device.
pub(super) struct Pace {
    pictures: Vec<MadePicture>,
    /// Whether [`PictureWork`] is in pixels.
    pub in_pixels: bool,
    steps: Rate,
    rest: Rate,
}

impl Pace {
    /// By pictures, newest first, and the `work` that as many of the newest were; `None` where there
    /// is none.
    pub(super) fn of(
        pictures: Vec<MadePicture>,
        work: &[PictureWork],
        in_pixels: bool,
    ) -> Option<Pace> {
        if pictures.is_empty() || work.is_empty() {
            return None;
        }
        let newest = &pictures[..work.len().min(pictures.len())];
        let slowness_max = if in_pixels { f64::INFINITY } else { SLOWNESS_MAX };
        let rate = |ms: fn(&MadePicture) -> i64, work: f64| {
            let ms: i64 = newest.iter().map(ms).sum();
            let count = newest.len() as f64;
            Rate { made_ms: ms as f64 / count, made_work: (work / count).max(1.0), slowness_max }
        };
        let steps = rate(|it| it.denoise_ms, work.iter().map(|it| it.steps).sum());
        let rest = |it: &MadePicture| (it.total_ms - it.denoise_ms).max(0);
        let rest = rate(rest, work.iter().map(|it| it.rest).sum());
        Some(Pace { pictures, in_pixels, steps, rest })
    }

    /// How long pictures took in the mean that were made like this.
    pub(super) fn of_alike(&self, effort: &Effort) -> Option<f64> {
        let alike = self.pictures.iter().filter(|made| made.effort == *effort);
        let (count, total_ms) =
            alike.fold((0, 0), |(count, ms), made| (count + 1, ms + made.total_ms));
        (count > 0).then(|| total_ms as f64 / f64::from(count))
    }

    /// The milliseconds that this much work takes.
    pub(super) fn ms(&self, work: &PictureWork) -> PictureWork {
        PictureWork { steps: self.steps.ms(work.steps), rest: self.rest.ms(work.rest) }
    }
}

/// The mean of the pictures that were made.
struct Rate {
    made_ms: f64,
    made_work: f64,
    slowness_max: f64,
}

impl Rate {
    /// Small pictures take longer than their operations, for what is done once whatever their size;
    /// larger ones take that once as well, and not so many times more.
    fn ms(&self, work: f64) -> f64 {
        let slowness = self.made_ms / self.made_work;
        let more_work = work - self.made_work;
        match slowness > self.slowness_max && more_work > 0.0 {
            true => self.made_ms + more_work * self.slowness_max,
            false => slowness * work,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Effort =
        Effort { width: 64, height: 64, steps: 2, is_guided: false, guidance_truncation: 1.0 };

    fn pace(denoise_ms: i64, total_ms: i64, work: PictureWork, in_pixels: bool) -> Pace {
        let made = MadePicture { denoise_ms, total_ms, effort: SMALL };
        Pace::of(vec![made.clone(), made], &[work, work], in_pixels).expect("pictures")
    }

    #[test]
    fn what_small_pictures_take_once_is_not_taken_for_every_pixel_of_larger_ones() {
        let small = PictureWork { steps: 10.0, rest: 5.0 };
        let large = PictureWork { steps: 1000.0, rest: 500.0 };
        let slower = pace(15, 25, small, false);
        assert_eq!(
            slower.ms(&large),
            PictureWork { steps: 1500.0, rest: 1000.0 },
            "the device is slower"
        );
        let tiny = pace(110, 210, small, false);
        assert_eq!(tiny.ms(&large), PictureWork { steps: 2090.0, rest: 1090.0 });
        assert_eq!(
            tiny.ms(&small),
            PictureWork { steps: 110.0, rest: 100.0 },
            "as it was measured"
        );
        let half = PictureWork { steps: 5.0, rest: 2.5 };
        assert_eq!(tiny.ms(&half), PictureWork { steps: 55.0, rest: 50.0 });
        let pixels = pace(110, 210, small, true);
        assert_eq!(pixels.ms(&large), PictureWork { steps: 11000.0, rest: 10000.0 });
    }

    #[test]
    fn pictures_made_alike_count_as_they_are() {
        let pace = pace(100, 250, PictureWork { steps: 1.0, rest: 1.0 }, false);
        assert_eq!(pace.of_alike(&SMALL), Some(250.0));
        assert_eq!(pace.of_alike(&Effort { steps: 3, ..SMALL }), None);
        assert!(Pace::of(Vec::new(), &[], true).is_none());
    }
}
