//! The decode in tiles against the whole one.

use candle_core::{Device, Tensor};
use zimaged::engine::z_image::noise::Generator;

use super::reference::model;

/// Latents of three by two tiles.
const HEIGHT: usize = 40;
const WIDTH: usize = 60;
const TILE_SIDE: usize = 24;

/// A picture (3, height, width) as rows of one channel after the other.
struct Picture {
    values: Vec<f32>,
    height: usize,
    width: usize,
}

impl Picture {
    fn new(decoded: &Tensor) -> Picture {
        let (_, _, height, width) = decoded.dims4().unwrap();
        Picture { values: decoded.flatten_all().unwrap().to_vec1().unwrap(), height, width }
    }

    /// For each column but the last, the greatest difference between its step to the next one here and in `other`.
    fn column_seams(&self, other: &Picture) -> Vec<f32> {
        let step = |picture: &Picture, at: usize| picture.values[at + 1] - picture.values[at];
        let rows = 3 * self.height;
        let seam = |x: usize| {
            (0..rows).map(move |row| row * self.width + x).map(|at| (step(self, at) - step(other, at)).abs())
        };
        (0..self.width - 1).map(|x| seam(x).fold(0.0, f32::max)).collect()
    }

    fn transposed(&self) -> Picture {
        let at = |channel: usize, x: usize, y: usize| (channel * self.height + y) * self.width + x;
        let of_row = |channel: usize, x: usize| (0..self.height).map(move |y| at(channel, x, y));
        let order = (0..3).flat_map(|channel| (0..self.width).flat_map(move |x| of_row(channel, x)));
        Picture { values: order.map(|at| self.values[at]).collect(), height: self.width, width: self.height }
    }
}

#[test]
fn a_decode_in_three_by_two_tiles_is_near_the_whole_one_and_shows_no_seam() {
    let Some(model) = model("the decode in tiles") else { return };
    let noise = Generator::new(5).randn(16 * HEIGHT * WIDTH);
    let latents = Tensor::from_vec(noise, (1, 16, HEIGHT, WIDTH), &Device::Cpu).unwrap();
    let whole = Picture::new(&model.decoder.decode(&latents).unwrap());
    let tiled = Picture::new(&model.decoder.decode_tiled(&latents, TILE_SIDE).unwrap());

    let differences = || whole.values.iter().zip(&tiled.values).map(|(a, b)| f64::from((a - b).abs()) / 2.0 * 255.0);
    let mean = differences().sum::<f64>() / whole.values.len() as f64;
    eprintln!("mean {mean} max {}", differences().fold(0.0, f64::max));
    let seams = tiled.column_seams(&whole);
    for (i, s) in seams.iter().enumerate() {
        eprint!("{i}:{s:.4} ");
    }
    eprintln!();
    let seams = tiled.transposed().column_seams(&whole.transposed());
    for (i, s) in seams.iter().enumerate() {
        eprint!("{i}:{s:.4} ");
    }
    assert!(mean < 2.0, "{mean} levels on average");
}
