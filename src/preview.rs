//! How a picture looks while it is made: one pixel for each pixel of its latents, by a linear map
//! from their channels to red, green and blue.
//!
//! No table of such a map is published for every VAE, and those that are differ. So it is fitted
//! here, by least squares, to the pictures that the loaded model has made: each pixel of finished
//! latents against the mean of the picture's pixels that it stands for. Before the first picture of
//! a model there is none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, Rgb};
use serde::{Deserialize, Serialize};

use crate::engine::{Latents, Pixels};
use crate::files;

/// Red, green and blue.
const COLOURS: usize = 3;

/// More channels than any VAE has.
const CHANNELS_MAX: usize = 64;

/// So many pixels of a picture's latents are learned from: hundreds of times what is unknown, in
/// less than a millisecond.
const CELLS_MAX: usize = 1024;

/// What earlier pictures still count when another is learned from: new ones count most, and the
/// sums stay bounded.
const MEMORY: f64 = 0.9;

/// So far from the picture's mean, squared, a colour counts twice.
const USUAL_SQUARE: f64 = 2048.0;

/// Of the mean square of the channels: keeps the map small in directions that no picture has shown.
const RIDGE: f64 = 1e-3;

/// A preview shows no loss at this.
const JPEG_QUALITY: u8 = 85;

/// More than a fit or a preview takes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The sums of the normal equations, for the channels and a constant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentFit {
    channels: usize,
    /// Products of inputs, row by row.
    inputs: Vec<f64>,
    /// Products of an input and a colour, input by input.
    colours: Vec<f64>,
}

impl LatentFit {
    /// What was kept in a file; a fit that has seen nothing where there is none.
    pub fn kept(path: &Path) -> LatentFit {
        let text = files::read_plain(path, FILE_BYTES_MAX).ok();
        let fit = text.and_then(|text| serde_json::from_slice::<LatentFit>(&text).ok());
        fit.filter(LatentFit::is_whole).unwrap_or_default()
    }

    /// Not fsynced: it is made again of the next picture.
    pub fn keep(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }

    fn is_whole(&self) -> bool {
        let inputs = self.channels + 1;
        (1..=CHANNELS_MAX).contains(&self.channels)
            && self.inputs.len() == inputs * inputs
            && self.colours.len() == inputs * COLOURS
    }

    /// Learns from `latents` and the picture that they are decoded to. What does not fit together
    /// teaches nothing.
    pub fn learn(&mut self, latents: &Latents, pixels: &Pixels) {
        let [channels, height, width] = latents.shape;
        let Some(side) = cell_side(latents, pixels) else { return };
        if self.channels != channels {
            let (inputs, colours) = (square(channels + 1), (channels + 1) * COLOURS);
            *self = LatentFit { channels, inputs: vec![0.0; inputs], colours: vec![0.0; colours] };
        }
        self.forget();
        let cells = height * width;
        let usual = mean_colour_of(pixels);
        for cell in (0..cells).step_by(cells.div_ceil(CELLS_MAX)) {
            let place = (cell / width * side, cell % width * side);
            let colour = mean_colour(pixels, place, side);
            self.add(&input_of(latents, cell), colour, weight(colour, usual));
        }
    }

    fn forget(&mut self) {
        for sum in self.inputs.iter_mut().chain(&mut self.colours) {
            *sum *= MEMORY;
        }
    }

    fn add(&mut self, input: &[f64], colour: [f64; COLOURS], weight: f64) {
        for (i, value) in input.iter().enumerate() {
            for (j, other) in input.iter().enumerate() {
                self.inputs[i * input.len() + j] += weight * value * other;
            }
            for (j, level) in colour.iter().enumerate() {
                self.colours[i * COLOURS + j] += weight * value * level;
            }
        }
    }

    /// How `latents` look; `None` before anything was learned of such ones.
    pub fn paint(&self, latents: &Latents) -> Option<Pixels> {
        let [channels, height, width] = latents.shape;
        if self.channels != channels {
            return None;
        }
        let map = self.map()?;
        let mut rgb = Vec::with_capacity(height * width * COLOURS);
        for cell in 0..height * width {
            let input = input_of(latents, cell);
            for colour in 0..COLOURS {
                let products = input.iter().enumerate().map(|(i, x)| x * map[i * COLOURS + colour]);
                rgb.push(products.sum::<f64>().round().clamp(0.0, 255.0) as u8);
            }
        }
        Some(Pixels { width: width as u32, height: height as u32, rgb })
    }

    /// The map of least squares: for each input what it adds to each colour.
    fn map(&self) -> Option<Vec<f64>> {
        let inputs = self.channels + 1;
        let mut left = self.inputs.clone();
        let diagonal = || (0..inputs).map(|i| i * inputs + i);
        let mean = diagonal().map(|at| self.inputs[at]).sum::<f64>() / inputs as f64;
        for at in diagonal() {
            left[at] += RIDGE * mean;
        }
        let mut right = self.colours.clone();
        eliminate(&mut left, &mut right, inputs).then_some(right)
    }
}

/// Solves `left * x = right` in place, `left` being symmetric and positive: x is in `right` then.
/// Whether there is a solution.
fn eliminate(left: &mut [f64], right: &mut [f64], rows: usize) -> bool {
    for pivot in 0..rows {
        let by = left[pivot * rows + pivot];
        if !by.is_normal() || by < 0.0 {
            return false;
        }
        for row in (0..rows).filter(|row| *row != pivot) {
            let times = left[row * rows + pivot] / by;
            for column in pivot..rows {
                left[row * rows + column] -= times * left[pivot * rows + column];
            }
            for colour in 0..COLOURS {
                right[row * COLOURS + colour] -= times * right[pivot * COLOURS + colour];
            }
        }
    }
    for row in 0..rows {
        let by = left[row * rows + row];
        right[row * COLOURS..(row + 1) * COLOURS].iter_mut().for_each(|value| *value /= by);
    }
    true
}

const fn square(side: usize) -> usize {
    side * side
}

/// How many pixels of the picture each way are one of the latents.
fn cell_side(latents: &Latents, pixels: &Pixels) -> Option<usize> {
    let [channels, height, width] = latents.shape;
    let side = (pixels.width as usize).checked_div(width).filter(|side| *side > 0)?;
    let is_whole = width * side == pixels.width as usize
        && height * side == pixels.height as usize
        && latents.values.len() == channels * height * width
        && pixels.rgb.len() == height * width * square(side) * COLOURS
        && (1..=CHANNELS_MAX).contains(&channels);
    is_whole.then_some(side)
}

/// The channels of one pixel of the latents, and a constant.
fn input_of(latents: &Latents, cell: usize) -> Vec<f64> {
    let [channels, height, width] = latents.shape;
    let plane = height * width;
    let values = (0..channels).map(|channel| f64::from(latents.values[channel * plane + cell]));
    values.chain([1.0]).collect()
}

fn mean_colour(pixels: &Pixels, (top, left): (usize, usize), side: usize) -> [f64; COLOURS] {
    let mut sums = [0.0; COLOURS];
    for row in top..top + side {
        let start = (row * pixels.width as usize + left) * COLOURS;
        for pixel in pixels.rgb[start..start + side * COLOURS].chunks_exact(COLOURS) {
            for (sum, level) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(*level);
            }
        }
    }
    sums.map(|sum| sum / square(side) as f64)
}

/// The mean of the whole picture, by a part of its pixels.
fn mean_colour_of(pixels: &Pixels) -> [f64; COLOURS] {
    let all = pixels.rgb.chunks_exact(COLOURS);
    let step = all.len().div_ceil(CELLS_MAX).max(1);
    let (mut sums, mut count) = ([0.0; COLOURS], 0.0);
    for pixel in all.step_by(step) {
        count += 1.0;
        for (sum, level) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(*level);
        }
    }
    sums.map(|sum| sum / f64::max(count, 1.0))
}

/// What is rare in a picture, as a red circle on a white ground, counts more than what is all over
/// it.
fn weight(colour: [f64; COLOURS], usual: [f64; COLOURS]) -> f64 {
    let squares = colour.iter().zip(usual).map(|(level, usual)| (level - usual).powi(2));
    1.0 + squares.sum::<f64>() / USUAL_SQUARE
}

/// The file with the preview of one picture, in the folder of previews.
pub fn path(folder: &Path, job: i64, index: u32) -> PathBuf {
    folder.join(format!("{job}.{index}.jpg"))
}

/// The preview of one picture, as JPEG.
pub fn read(folder: &Path, job: i64, index: u32) -> io::Result<Vec<u8>> {
    files::read_plain(&path(folder, job, index), FILE_BYTES_MAX)
}

/// Puts a preview where it is read from.
pub fn write(path: &Path, preview: &Pixels) -> io::Result<()> {
    let Pixels { width, height, rgb } = preview;
    let picture = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(*width, *height, rgb)
        .ok_or_else(|| io::Error::other("pixels do not fill width times height"))?;
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    picture.write_with_encoder(encoder).map_err(io::Error::other)?;
    replace(path, &jpeg)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("part");
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latents of two channels, and the picture that a linear map makes of them.
    fn example(seed: usize) -> (Latents, Pixels) {
        let (height, width, side) = (4, 6, 8);
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 997) as f32 / 997.0 - 0.5;
        let values: Vec<f32> = (0..2 * height * width).map(value).collect();
        let plane = height * width;
        let mut rgb = Vec::new();
        for row in 0..height * side {
            for column in 0..width * side {
                let cell = row / side * width + column / side;
                let (a, b) = (values[cell], values[plane + cell]);
                rgb.extend(
                    [100.0 + 90.0 * a, 120.0 - 60.0 * b, 80.0 + 40.0 * (a + b)].map(|x| x as u8),
                );
            }
        }
        let pixels = Pixels { width: (width * side) as u32, height: (height * side) as u32, rgb };
        (Latents { shape: [2, height, width], values }, pixels)
    }

    #[test]
    fn what_was_learned_of_some_pictures_paints_others() {
        let mut fit = LatentFit::default();
        assert_eq!(fit.paint(&example(9).0), None);
        for seed in 1..=4 {
            let (latents, pixels) = example(seed);
            fit.learn(&latents, &pixels);
        }
        let (latents, pixels) = example(9);
        let painted = fit.paint(&latents).expect("it has learned");
        assert_eq!((painted.width, painted.height), (6, 4));
        for (cell, rgb) in painted.rgb.chunks_exact(3).enumerate() {
            let at = (cell / 6 * 8 * 48 + cell % 6 * 8) * 3;
            for (level, expected) in rgb.iter().zip(&pixels.rgb[at..at + 3]) {
                assert!(level.abs_diff(*expected) <= 2, "{cell}: {level} and not {expected}");
            }
        }
    }

    #[test]
    fn a_picture_of_one_colour_and_values_that_are_no_numbers_break_nothing() {
        let mut fit = LatentFit::default();
        let latents = Latents { shape: [2, 1, 1], values: vec![0.0, 0.0] };
        let pixels = Pixels { width: 8, height: 8, rgb: vec![10; 192] };
        fit.learn(&latents, &pixels);
        assert!(fit.paint(&latents).is_some_and(|painted| painted.rgb[0] <= 10));
        fit.learn(&Latents { values: vec![f32::NAN, 0.0], ..latents.clone() }, &pixels);
        assert_eq!(fit.paint(&latents), None);
        let other = Latents { shape: [3, 1, 1], values: vec![0.0; 3] };
        assert_eq!(fit.paint(&other), None);
    }

    #[test]
    fn a_fit_is_kept_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("fit.json");
        let mut fit = LatentFit::default();
        let (latents, pixels) = example(1);
        fit.learn(&latents, &pixels);
        fit.keep(&path).expect("a writable folder");
        assert!(LatentFit::kept(&path).paint(&latents).is_some());
        fs::write(&path, "{\"channels\":2,\"inputs\":[1],\"colours\":[]}").expect("writable");
        assert_eq!(LatentFit::kept(&path), LatentFit::default());
    }
}
