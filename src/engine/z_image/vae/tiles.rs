//! Cutting latents into overlapping tiles and blending the decoded tiles into one picture.

use candle_core::{Device, Result, Tensor};

use crate::engine::z_image::geometry::Tiling;

/// One tile along one axis, in latent pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub length: usize,
    /// How much of it the tile before it covers too.
    before: usize,
    /// How much of it the tile after it covers too.
    after: usize,
}

/// The tiles of [`Tiling::new`], evenly spread over `length`.
pub fn spans(length: usize, tile_max: usize) -> Vec<Span> {
    let Tiling { count, tile } = Tiling::new(length, tile_max);
    if count == 1 {
        return vec![Span { start: 0, length, before: 0, after: 0 }];
    }
    let start = |i: usize| i * (length - tile) / (count - 1);
    let shared = |i: usize| start(i) + tile - start(i + 1);
    let span = |i: usize| Span {
        start: start(i),
        length: tile,
        before: if i == 0 { 0 } else { shared(i - 1) },
        after: if i + 1 == count { 0 } else { shared(i) },
    };
    (0..count).map(span).collect()
}

impl Span {
    /// The weight of each pixel of the decoded tile. It rises over the part that is shared with the
    /// tile before, and falls over the part that is shared with the tile after, so that the weights
    /// of all tiles add up to 1 everywhere.
    fn weights(&self, factor: usize) -> Vec<f32> {
        let length = self.length * factor;
        let weight =
            |i: usize| ramp(i, self.before * factor) * ramp(length - 1 - i, self.after * factor);
        (0..length).map(weight).collect()
    }
}

/// Rises from 0 to 1 over the middle of the `shared` pixels. The outermost pixels of a tile count
/// nothing: its convolutions saw zeros there in place of the neighbouring tile.
fn ramp(distance: usize, shared: usize) -> f32 {
    if shared == 0 {
        return 1.0;
    }
    let edge = shared * 3 / 8;
    let width = shared - 2 * edge;
    ((distance as f32 + 0.5 - edge as f32) / width as f32).clamp(0.0, 1.0)
}

/// The picture on the host that tiles are added to.
pub struct Canvas {
    values: Vec<f32>,
    channels: usize,
    height: usize,
    width: usize,
    factor: usize,
}

impl Canvas {
    /// For latents of `height` by `width` that become `factor` times as large.
    pub fn new(channels: usize, height: usize, width: usize, factor: usize) -> Canvas {
        let (height, width) = (height * factor, width * factor);
        Canvas { values: vec![0.0; channels * height * width], channels, height, width, factor }
    }

    /// Adds a decoded tile (1, height, width, channels), weighted.
    pub fn add(&mut self, tile: &Tensor, rows: &Span, columns: &Span) -> Result<()> {
        let tile: Vec<f32> = tile.flatten_all()?.to_vec1()?;
        let (row_weights, column_weights) =
            (rows.weights(self.factor), columns.weights(self.factor));
        let (top, left) = (rows.start * self.factor, columns.start * self.factor);
        let pixels = column_weights.len() * self.channels;
        let row = |y: usize| ((top + y) * self.width + left) * self.channels;
        for ((y, row_weight), from) in row_weights.iter().enumerate().zip(tile.chunks_exact(pixels))
        {
            let to = self.values[row(y)..][..pixels].chunks_exact_mut(self.channels);
            let from = from.chunks_exact(self.channels);
            for ((to, from), column_weight) in to.zip(from).zip(&column_weights) {
                let weight = row_weight * column_weight;
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from * weight);
            }
        }
        Ok(())
    }

    /// The picture (1, height, width, channels).
    pub fn into_tensor(self) -> Result<Tensor> {
        Tensor::from_vec(self.values, (1, self.height, self.width, self.channels), &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_all_tiles_add_up_to_one_everywhere() {
        for length in 1..200 {
            for tile in [16, 17, 24, 64] {
                let mut sums = vec![0.0; length * 2];
                for span in spans(length, tile) {
                    assert!(span.length <= tile);
                    let weights = span.weights(2);
                    sums[span.start * 2..]
                        .iter_mut()
                        .zip(weights)
                        .for_each(|(sum, weight)| *sum += weight);
                }
                assert!(
                    sums.iter().all(|sum| (sum - 1.0_f32).abs() < 1e-6),
                    "{length} in tiles of {tile}: {sums:?}"
                );
            }
        }
    }

    #[test]
    fn what_fits_one_tile_is_one_tile() {
        assert_eq!(spans(16, 16), [Span { start: 0, length: 16, before: 0, after: 0 }]);
    }
}
