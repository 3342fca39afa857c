//! How fast pictures were made, and so how long others take: by the middle of the newest ones.
//!
//! A picture that was made while another program had the machine took several times as long, and
//! one after a load takes longer as well. In a mean each of them counts for days; a median leaps
//! where half of the pictures are such. The mean of the middle half heeds neither the slowest
//! quarter nor the fastest one, and moves on by little with every picture.

use std::iter;

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

/// So many pictures of a size and number of steps say by themselves how long another one takes.
const ALIKE_MIN: usize = 3;

/// Those that were made so long before the newest one need so many.
const OLD_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How fast the newest pictures were made of the model that was loaded last, on its device.
pub(super) struct Pace {
    pictures: Vec<MadePicture>,
    /// Whether [`PictureWork`] is in pixels.
    pub in_pixels: bool,
    steps: Rate,
    rest: Rate,
}

impl Pace {
    /// By pictures, newest first, and the `work` that as many of the newest were; `None` where
    /// there is none.
    pub(super) fn of(
        pictures: Vec<MadePicture>,
        work: &[PictureWork],
        in_pixels: bool,
    ) -> Option<Pace> {
        if pictures.is_empty() || work.is_empty() {
            return None;
        }
        let slowness_max = if in_pixels { f64::INFINITY } else { SLOWNESS_MAX };
        let newest = || pictures.iter().zip(work);
        let rest_ms = |it: &MadePicture| (it.total_ms - it.denoise_ms).max(0) as f64;
        let steps = newest().map(|(made, work)| (made.denoise_ms as f64, work.steps));
        let steps = Rate::of(steps.collect(), slowness_max);
        let rest = Rate::of(
            newest().map(|(made, work)| (rest_ms(made), work.rest)).collect(),
            slowness_max,
        );
        Some(Pace { pictures, in_pixels, steps, rest })
    }

    /// How long pictures took that were made like this, see [`usual_ms`]. Where all of them are old,
    /// one or two say little of the device as it is now: in the place of those that lack stands
    /// the time `by_work_ms`.
    pub(super) fn of_alike(&self, effort: &Effort, by_work_ms: Option<f64>) -> Option<f64> {
        let is_alike = |made: &&MadePicture| made.effort == *effort;
        let mut times_ms: Vec<f64> =
            self.pictures.iter().filter(is_alike).map(|made| made.total_ms as f64).collect();
        if times_ms.is_empty() {
            return None;
        }
        let newest_ms = self.pictures.first().map_or(0, |made| made.ended_at_ms);
        let is_old = |made: &MadePicture| newest_ms - made.ended_at_ms > OLD_MS;
        let is_recent = self.pictures.iter().filter(is_alike).any(|made| !is_old(made));
        let lack = if is_recent { 0 } else { ALIKE_MIN.saturating_sub(times_ms.len()) };
        times_ms.extend(by_work_ms.into_iter().flat_map(|ms| iter::repeat_n(ms, lack)));
        usual_ms(times_ms)
    }

    /// The milliseconds that this much work takes.
    pub(super) fn ms(&self, work: &PictureWork) -> PictureWork {
        PictureWork { steps: self.steps.ms(work.steps), rest: self.rest.ms(work.rest) }
    }
}

/// How long something takes that took these times: the mean of their middle half, of three the
/// middle one.
pub(super) fn usual_ms(mut times_ms: Vec<f64>) -> Option<f64> {
    times_ms.sort_by(f64::total_cmp);
    let middle = middle_half(&times_ms);
    (!middle.is_empty()).then(|| middle.iter().sum::<f64>() / middle.len() as f64)
}

/// What is left of a sorted list without its ends.
fn middle_half<T>(sorted: &[T]) -> &[T] {
    let end = (sorted.len() + 1) / 4;
    &sorted[end..sorted.len() - end]
}

/// The mean of the pictures that were made, but for the quickest and the slowest of them.
struct Rate {
    made_ms: f64,
    made_work: f64,
    slowness_max: f64,
}

impl Rate {
    /// By the milliseconds and the work of each picture, of which there is one.
    fn of(mut made: Vec<(f64, f64)>, slowness_max: f64) -> Rate {
        let slowness = |(ms, work): &(f64, f64)| ms / work.max(1.0);
        made.sort_by(|a, b| slowness(a).total_cmp(&slowness(b)));
        let middle = middle_half(&made);
        let mean =
            |of: fn(&(f64, f64)) -> f64| middle.iter().map(of).sum::<f64>() / middle.len() as f64;
        Rate { made_ms: mean(|it| it.0), made_work: mean(|it| it.1).max(1.0), slowness_max }
    }

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
        let made = MadePicture { denoise_ms, total_ms, ended_at_ms: 0, effort: SMALL };
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
        assert_eq!(pace.of_alike(&SMALL, Some(10.0)), Some(250.0));
        assert_eq!(pace.of_alike(&Effort { steps: 3, ..SMALL }, Some(10.0)), None);
        assert!(Pace::of(Vec::new(), &[], true).is_none());
    }

    // newcomer 6
    #[test]
    fn a_few_pictures_of_a_busy_machine_change_little_and_no_single_one_changes_much() {
        let times = |slow: usize| {
            let quick = std::iter::repeat_n(2700.0, 20 - slow);
            usual_ms(std::iter::repeat_n(13_700.0, slow).chain(quick).collect()).expect("times")
        };
        assert_eq!([times(0), times(5), times(20)], [2700.0, 2700.0, 13_700.0]);
        for slow in 0..20 {
            let (before, after) = (times(slow), times(slow + 1));
            assert!((0.0..=1100.0).contains(&(after - before)), "{slow}: {before}, {after}");
        }
        assert_eq!(usual_ms(vec![2.0, 90.0, 4.0]), Some(4.0));
        assert_eq!((usual_ms(vec![2.0, 4.0]), usual_ms(Vec::new())), (Some(3.0), None));
        let made = |busy: i64| MadePicture {
            denoise_ms: busy,
            total_ms: 2 * busy,
            ended_at_ms: 0,
            effort: SMALL,
        };
        let work = PictureWork { steps: 100.0, rest: 100.0 };
        let pictures = vec![made(900), made(100), made(100)];
        let pace = Pace::of(pictures, &[work; 3], true).expect("pictures");
        assert_eq!(pace.ms(&work), work, "nor of another size");
    }

    #[test]
    fn a_single_old_picture_does_not_say_alone_how_long_another_one_takes() {
        let work = PictureWork { steps: 1.0, rest: 1.0 };
        let made = |steps, total_ms, ended_at_ms| {
            let effort = Effort { steps, ..SMALL };
            MadePicture { denoise_ms: 100, total_ms, ended_at_ms, effort }
        };
        let large = Effort { steps: 9, ..SMALL };
        let by_alike = |times_ms: &[i64], age_ms: i64| {
            let older = times_ms.iter().map(|ms| made(9, *ms, -age_ms));
            let pictures = std::iter::once(made(2, 200, 0)).chain(older).collect();
            let pace = Pace::of(pictures, &[work], false).expect("pictures");
            pace.of_alike(&large, Some(900.0)).expect("alike")
        };
        assert_eq!(by_alike(&[90_000], OLD_MS + 1), 900.0, "the middle one of three");
        assert_eq!(by_alike(&[1000, 1200, 1400], OLD_MS + 1), 1200.0, "three say it");
        assert_eq!(by_alike(&[90_000], OLD_MS), 90_000.0, "it is not old");
    }
}
