//! Which rungs there are for a render, and in which order.

use std::iter::successors;

use super::{Capabilities, Decode, Precision, Prefer, Residency, Rung, asked};
use crate::job::{OnOom, Render};

/// Heights of stripes and sides of tiles, pixels: each halves the decode's peak, or quarters it.
const DECODE_SIDES: [u32; 4] = [512, 256, 128, 64];

/// How far the aspect ratio may drift when both sides are rounded to the granularity.
const ASPECT_DRIFT_MAX: f64 = 0.02;

/// All rungs that `render` allows and the engine can run, gentlest first.
///
/// On the host a picture takes fifty times as long or more, so that comes after everything else.
pub fn rungs(render: &Render, prefer: Prefer, capabilities: &Capabilities) -> Vec<Rung> {
    let (on_host, on_device): (Vec<Residency>, Vec<Residency>) =
        capabilities.residencies.iter().partition(|residency| **residency == Residency::Host);
    let choice = Choice {
        pictures: pictures(render, capabilities.granularity),
        precisions: precisions(render, prefer, capabilities),
        exact: exact_decodes(render),
        tiles: tiles(render, capabilities),
    };
    let mut rungs = match prefer {
        Prefer::Quality => choice.by_quality(&on_device),
        Prefer::Speed => choice.by_speed(&on_device),
    };
    if let Some(gentlest) = rungs.first().copied() {
        rungs.extend(on_host.iter().map(|&residency| Rung { residency, ..gentlest }));
    }
    rungs
}

/// The precisions to try, the one that was asked for first, or the gentlest where the engine has
/// not that one. Fewer bits for activations come only to who asks for them, or for speed.
fn precisions(render: &Render, prefer: Prefer, capabilities: &Capabilities) -> Vec<Precision> {
    let all = &capabilities.precisions;
    let first = all.iter().position(|precision| *precision == asked(render)).unwrap_or_default();
    let wanted = |(place, precision): &(usize, &Precision)| {
        *place == first || **precision != Precision::Int8 || prefer == Prefer::Speed
    };
    let wanted = all.iter().enumerate().skip(first).filter(wanted).map(|(_, precision)| *precision);
    match render.on_oom {
        OnOom::Fail | OnOom::Offload => wanted.take(1).collect(),
        OnOom::Downgrade => wanted.collect(),
    }
}

/// A picture's width and height in pixels, and its steps.
type Picture = (u32, u32, u32);

/// What the rungs of one render are made of, each gentlest first.
struct Choice {
    pictures: Vec<Picture>,
    precisions: Vec<Precision>,
    /// Decodes that give the same picture.
    exact: Vec<Decode>,
    tiles: Vec<Decode>,
}

impl Choice {
    /// Gives time up first, then seams of tiles, then precision, and the picture last.
    fn by_quality(&self, residencies: &[Residency]) -> Vec<Rung> {
        let mut rungs = Vec::new();
        for &picture in &self.pictures {
            for &precision in &self.precisions {
                rungs.extend(self.combined(picture, precision, residencies, &self.exact));
                rungs.extend(self.combined(picture, precision, residencies, &self.tiles));
            }
        }
        rungs
    }

    /// Gives up size, then steps, before it streams weights in every step. While the transformer
    /// stays on the device, more memory never means a smaller picture or fewer steps.
    fn by_speed(&self, residencies: &[Residency]) -> Vec<Rung> {
        let (streamed, staying): (Vec<Residency>, Vec<Residency>) =
            residencies.iter().partition(|residency| is_streamed(**residency));
        let decodes = [&self.exact[..], &self.tiles[..]].concat();
        let mut rungs = Vec::new();
        for residencies in [staying, streamed] {
            for &picture in &self.pictures {
                for &precision in &self.precisions {
                    rungs.extend(self.combined(picture, precision, &residencies, &decodes));
                }
            }
        }
        rungs
    }

    /// The rungs of one picture at one precision: every residency with every way of decoding.
    ///
    /// Lower precision than asked is there so that all weights can stay on the device: streamed
    /// weights need not lose any.
    fn combined(
        &self,
        (width, height, steps): Picture,
        precision: Precision,
        residencies: &[Residency],
        decodes: &[Decode],
    ) -> Vec<Rung> {
        let is_first = self.precisions.first() == Some(&precision);
        let mut rungs = Vec::new();
        for &residency in residencies {
            if is_first || !is_streamed(residency) {
                let rung = |&decode| Rung { residency, precision, decode, width, height, steps };
                rungs.extend(decodes.iter().map(rung));
            }
        }
        rungs
    }
}

/// Whether weights of the transformer come to the device in every step.
fn is_streamed(residency: Residency) -> bool {
    matches!(residency, Residency::Streamed { .. })
}

/// The picture as asked, smaller ones at its aspect ratio, and the smallest with fewer and fewer
/// steps.
fn pictures(render: &Render, granularity: u32) -> Vec<Picture> {
    let asked = (render.width, render.height, render.steps);
    if render.on_oom != OnOom::Downgrade {
        return vec![asked];
    }
    let smaller = |&(width, _, steps): &Picture| {
        smaller_picture(width, render, granularity).map(|(width, height)| (width, height, steps))
    };
    let mut pictures: Vec<_> = successors(Some(asked), smaller).collect();
    let smallest = *pictures.last().unwrap_or(&asked);
    let fewer = |&(width, height, steps): &Picture| {
        let fewer = (steps / 2).max(render.min_steps);
        (fewer < steps).then_some((width, height, fewer))
    };
    pictures.extend(successors(Some(smallest), fewer).skip(1));
    pictures
}

/// About three quarters of both sides (1024 -> 768), at the asked aspect ratio.
fn smaller_picture(width: u32, render: &Render, granularity: u32) -> Option<(u32, u32)> {
    let aspect = f64::from(render.width) / f64::from(render.height);
    let widest = width * 3 / 4 / granularity;
    (1..=widest).rev().map(|units| units * granularity).find_map(|width| {
        let height =
            (f64::from(width) / aspect / f64::from(granularity)).round() as u32 * granularity;
        let drift = (f64::from(width) / f64::from(height.max(1)) / aspect - 1.0).abs();
        (drift <= ASPECT_DRIFT_MAX && width.min(height) >= render.min_side)
            .then_some((width, height))
    })
}

fn exact_decodes(render: &Render) -> Vec<Decode> {
    let stripes = DECODE_SIDES.into_iter().filter(|height| *height < render.height);
    [Decode::Whole].into_iter().chain(stripes.map(|height| Decode::Stripes { height })).collect()
}

fn tiles(render: &Render, capabilities: &Capabilities) -> Vec<Decode> {
    let allowed = render.on_oom != OnOom::Fail;
    let smaller =
        |side: &u32| *side < render.width.max(render.height) && *side >= capabilities.tile_side_min;
    DECODE_SIDES
        .into_iter()
        .filter(|side| allowed && smaller(side))
        .map(|side| Decode::Tiles { side })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn render(width: u32, height: u32, steps: u32) -> Render {
        Render { width, height, steps, min_side: 256, ..Render::default() }
    }

    pub(crate) fn capabilities() -> Capabilities {
        let streamed =
            [24, 15, 6, 0].map(|resident_blocks| Residency::Streamed { resident_blocks });
        Capabilities {
            residencies: [Residency::Device, Residency::TextReleased]
                .into_iter()
                .chain(streamed)
                .collect(),
            precisions: vec![Precision::Full, Precision::Int8, Precision::Q8, Precision::Q4],
            granularity: 16,
            tile_side_min: 128,
        }
    }

    /// What changes from rung to rung, each value once.
    fn order(
        render: &Render,
        prefer: Prefer,
        capabilities: &Capabilities,
        part: impl Fn(&Rung) -> String,
    ) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for rung in rungs(render, prefer, capabilities) {
            if !parts.contains(&part(&rung)) {
                parts.push(part(&rung));
            }
        }
        parts
    }

    #[test]
    fn quality_gives_up_time_then_precision_then_size_then_steps() {
        let rungs = rungs(&render(1024, 1024, 8), Prefer::Quality, &capabilities());
        let place = |text: &str| rungs.iter().position(|rung| rung.to_string() == text).unwrap();
        let order = [
            "device/full/whole 1024x1024 8 steps",
            "device/full/stripes64 1024x1024 8 steps",
            "text-released/full/whole 1024x1024 8 steps",
            "streamed0/full/stripes64 1024x1024 8 steps",
            "device/full/tiles512 1024x1024 8 steps",
            "device/q8/whole 1024x1024 8 steps",
            "text-released/q4/tiles128 1024x1024 8 steps",
            "device/full/whole 768x768 8 steps",
            "device/full/whole 320x320 8 steps",
            "device/full/whole 320x320 4 steps",
        ];
        assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
        assert_eq!(place(order[0]), 0);
    }

    #[test]
    fn speed_gives_up_tiles_precision_size_and_steps_before_streaming() {
        let rungs = rungs(&render(1024, 1024, 60), Prefer::Speed, &capabilities());
        let place = |text: &str| rungs.iter().position(|rung| rung.to_string() == text).unwrap();
        let order = [
            "device/full/whole 1024x1024 60 steps",
            "device/full/tiles128 1024x1024 60 steps",
            "text-released/full/whole 1024x1024 60 steps",
            "device/q8/whole 1024x1024 60 steps",
            "text-released/q4/tiles128 1024x1024 60 steps",
            "device/full/whole 768x768 60 steps",
            "device/full/whole 320x320 60 steps",
            "device/full/whole 320x320 30 steps",
            "device/full/whole 320x320 4 steps",
            "streamed24/full/whole 1024x1024 60 steps",
            "streamed0/full/whole 320x320 4 steps",
        ];
        assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
    }

    #[test]
    fn the_host_comes_last_with_the_picture_as_asked() {
        let with_host = Capabilities {
            residencies: vec![Residency::Device, Residency::Host],
            ..capabilities()
        };
        for prefer in [Prefer::Quality, Prefer::Speed] {
            let rungs = rungs(&render(1024, 1024, 8), prefer, &with_host);
            assert_eq!(rungs.last().unwrap().to_string(), "host/full/whole 1024x1024 8 steps");
            assert_eq!(rungs.iter().filter(|rung| rung.residency == Residency::Host).count(), 1);
        }
    }

    #[test]
    fn fail_and_offload_keep_the_picture_and_fail_takes_no_tiles() {
        let fail = Render { on_oom: OnOom::Fail, ..render(512, 512, 8) };
        let offload = Render { on_oom: OnOom::Offload, ..render(512, 512, 8) };
        let whole = |rung: &Rung| rung.to_string();
        for prefer in [Prefer::Quality, Prefer::Speed] {
            assert!(
                order(&fail, prefer, &capabilities(), whole)
                    .iter()
                    .all(|rung| !rung.contains("tiles"))
            );
            for asked in [&fail, &offload] {
                assert!(
                    rungs(asked, prefer, &capabilities()).iter().all(|rung| !rung.degrades(asked))
                );
            }
        }
        assert!(
            order(&offload, Prefer::Quality, &capabilities(), whole)
                .iter()
                .any(|rung| rung.contains("tiles"))
        );
    }

    #[test]
    fn a_small_picture_is_not_cut() {
        let decodes = order(&render(256, 64, 8), Prefer::Quality, &capabilities(), |rung| {
            format!("{:?}", rung.decode)
        });
        assert_eq!(decodes, ["Whole", "Tiles { side: 128 }"]);
    }

    #[test]
    fn only_a_changed_picture_is_degraded() {
        let asked = render(1024, 1024, 8);
        let rung = rungs(&asked, Prefer::Quality, &capabilities())[0];
        assert!(!Rung { decode: Decode::Tiles { side: 256 }, ..rung }.degrades(&asked));
        assert!(!Rung { decode: Decode::Stripes { height: 256 }, ..rung }.degrades(&asked));
        assert!(Rung { steps: 4, ..rung }.degrades(&asked));
        assert!(Rung { width: 768, height: 768, ..rung }.degrades(&asked));
        assert!(Rung { precision: Precision::Q4, ..rung }.degrades(&asked));
    }

    proptest! {
        #[test]
        fn no_rung_repeats_and_all_keep_the_floors_and_the_aspect_ratio(
            (width, height) in (4u32..=128, 4u32..=128),
            steps in 1u32..100,
            (min_side, min_steps) in (64u32..1024, 1u32..50),
            speed in any::<bool>(),
        ) {
            let asked = Render { min_side, min_steps, ..render(width * 16, height * 16, steps) };
            let prefer = if speed { Prefer::Speed } else { Prefer::Quality };
            let rungs = rungs(&asked, prefer, &capabilities());
            for (place, rung) in rungs.iter().enumerate() {
                prop_assert_eq!((rung.width % 16, rung.height % 16), (0, 0));
                if (rung.width, rung.height) != (asked.width, asked.height) {
                    prop_assert!(rung.width.min(rung.height) >= min_side);
                    let drift = f64::from(rung.width * asked.height) / f64::from(rung.height * asked.width) - 1.0;
                    prop_assert!(drift.abs() <= 0.021);
                }
                prop_assert!(rung.steps == steps || rung.steps >= min_steps);
                prop_assert!(place > 300 || !rungs[..place].contains(rung), "repeats {}", rung);
            }
        }
    }
}
