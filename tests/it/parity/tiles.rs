//! The decode in tiles against the whole one.

use std::ops::Range;

use candle_core::Tensor;
use zimaged::internals::TILE_SIDE_MIN;

use super::reference::{Case, model};

/// Latents of three by two tiles of the smallest side, and where those overlap.
const HEIGHT: usize = 56;
const WIDTH: usize = 80;
const TILE_SIDE: usize = TILE_SIDE_MIN;
const COLUMN_OVERLAPS: &[Range<usize>] = &[24..32, 48..56];
const ROW_OVERLAP: Range<usize> = 24..32;
/// Pixels a latent pixel, each way.
const FACTOR: usize = 8;

/// A picture (3, height, width) as rows of one channel after the other.
struct Picture {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl Picture {
    fn new(decoded: &Tensor) -> Picture {
        let planes = decoded.permute((0, 3, 1, 2)).unwrap();
        let (_, _, height, width) = planes.dims4().unwrap();
        Picture { values: planes.flatten_all().unwrap().to_vec1().unwrap(), height, width }
    }

    /// For each column but the last, the greatest difference between its step to the next one here
    /// and in `other`.
    fn column_steps_beside(&self, other: &Picture) -> Vec<f32> {
        let step = |picture: &Picture, at: usize| picture.values[at + 1] - picture.values[at];
        let rows = 3 * self.height;
        let steps = |x: usize| {
            (0..rows)
                .map(move |row| row * self.width + x)
                .map(|at| (step(self, at) - step(other, at)).abs())
        };
        (0..self.width - 1).map(|x| steps(x).fold(0.0, f32::max)).collect()
    }

    fn transposed(&self) -> Picture {
        let at = |channel: usize, x: usize, y: usize| (channel * self.height + y) * self.width + x;
        let of_row = |channel: usize, x: usize| (0..self.height).map(move |y| at(channel, x, y));
        let order =
            (0..3).flat_map(|channel| (0..self.width).flat_map(move |x| of_row(channel, x)));
        Picture {
            values: order.map(|at| self.values[at]).collect(),
            height: self.width,
            width: self.height,
        }
    }
}

#[test]
#[cfg_attr(not(reference), ignore = "needs the reference model: see tools/reference")]
fn a_decode_in_three_by_two_tiles_is_near_the_whole_one_and_shows_no_seam() {
    let model = model();
    let latents = Case::read("square").tensor("latents").repeat((1, 1, 4, 6)).unwrap();
    let latents = latents.narrow(2, 0, HEIGHT).unwrap().narrow(3, 0, WIDTH).unwrap();
    let whole = Picture::new(&model.decoder.decode(&latents).unwrap());
    let tiled = Picture::new(&model.decoder.decode_tiled(&latents, TILE_SIDE).unwrap());

    let differences =
        whole.values.iter().zip(&tiled.values).map(|(a, b)| f64::from((a - b).abs()) / 2.0 * 255.0);
    let mean = differences.sum::<f64>() / whole.values.len() as f64;
    assert!(mean < 2.0, "{mean} levels on average");
    assert_no_seam(&whole, &tiled, COLUMN_OVERLAPS);
    assert_no_seam(&whole.transposed(), &tiled.transposed(), std::slice::from_ref(&ROW_OVERLAP));
}

/// The steps between columns where tiles overlap are no farther from the whole picture's than those
/// elsewhere.
fn assert_no_seam(whole: &Picture, tiled: &Picture, overlaps: &[Range<usize>]) {
    let steps = tiled.column_steps_beside(whole);
    let at_seam = |x: usize| overlaps.iter().any(|overlap| overlap.contains(&(x / FACTOR)));
    let greatest = |seams: bool| {
        let chosen = steps.iter().enumerate().filter(|(x, _)| at_seam(*x) == seams);
        chosen.map(|(_, step)| *step).fold(0.0, f32::max)
    };
    let (seams, elsewhere) = (greatest(true), greatest(false));
    assert!(seams <= elsewhere, "{seams} at the seams, {elsewhere} elsewhere");
}
