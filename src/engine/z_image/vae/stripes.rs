//! An activation cut into stripes, which are bands of rows over its whole width.
//!
//! A 3x3 convolution of a stripe needs one row of the stripe above it and one of the stripe below
//! it. So each stripe is computed in a window, which has some of these rows, the halo, around it:
//!
//! ```text
//!            activation      window     after a 3x3     cropped to
//!             in stripes    (halo 2)    convolution     a halo of 1
//!   row 0   +----------+
//!   row 1   |          |   +--------+   +--------+
//!   row 2   |          |   |  halo  |   | wrong  |
//!           +----------+   |        |   | right  |     +--------+
//!   row 3   |          |   | stripe |   | right  |     | right  |
//!   row 4   |  stripe  |   |        |   | right  |     |        |
//!   row 5   |          |   |        |   | right  |     |        |
//!           +----------+   |  halo  |   | right  |     |        |
//!   row 6   |          |   |        |   | wrong  |     +--------+
//!   row 7   |          |   +--------+   +--------+
//!   row 8   +----------+
//! ```
//!
//! Each convolution makes the outermost row of the halo wrong, because it saw zeros in place of the
//! row beyond, and that row is cropped. At the top and at the bottom of the picture there is no
//! halo, and the zeros are right: the whole picture is padded with them, too. What is left after
//! the last convolution is, stripe by stripe, what the whole picture would have given.

use std::collections::VecDeque;

use candle_core::{Result, Tensor, bail};

use super::layers::activation_bytes;
use crate::engine::Backend;

/// The dimension of the rows in (1, rows, width, channels).
const ROWS: usize = 1;

/// The activation of one picture, (1, height, width, channels), as tensors (1, rows, width,
/// channels) from the top.
#[derive(Clone)]
pub struct Striped {
    stripes: VecDeque<Tensor>,
}

impl Striped {
    /// Copies `x` (1, height, width, channels) into as few stripes as possible. None has more than
    /// `rows` rows (at least 1), and their heights differ by at most one row.
    pub fn cut(x: &Tensor, rows: usize) -> Result<Striped> {
        Striped::cut_in_units(x, rows, 1)
    }

    /// As [`Striped::cut`], of `x` whose height is counted in units of `unit` rows: so are `rows`.
    pub fn cut_in_units(x: &Tensor, rows: usize, unit: usize) -> Result<Striped> {
        let (1, height, _, _) = x.dims4()? else {
            bail!("only a single picture is cut into stripes: {x:?}")
        };
        let units = height / unit;
        let count = units.div_ceil(rows);
        let start = |i: usize| i * units / count * unit;
        (0..count).map(|i| copied_rows(x, start(i), start(i + 1) - start(i))).collect()
    }

    /// The stripes from the top.
    pub fn stripes(&self) -> impl Iterator<Item = &Tensor> {
        self.stripes.iter()
    }

    /// The windows of all stripes from the top, with a halo of `halo` rows (at least 1). Each
    /// window owns its stripe, so that the stripe is released with it; the rows that the next
    /// window needs are copied.
    pub fn into_windows(self, halo: usize) -> impl Iterator<Item = Result<Window>> {
        Windows { rest: self.stripes, above: None, halo }
    }
}

impl FromIterator<Tensor> for Striped {
    fn from_iter<I: IntoIterator<Item = Tensor>>(stripes: I) -> Striped {
        Striped { stripes: stripes.into_iter().collect() }
    }
}

struct Windows {
    /// The stripes that have had no window yet.
    rest: VecDeque<Tensor>,
    /// The last rows above the next stripe, at most `halo` of them; `None` at the top.
    above: Option<Tensor>,
    halo: usize,
}

impl Iterator for Windows {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        let stripe = self.rest.pop_front()?;
        Some(self.window(stripe))
    }
}

impl Windows {
    fn window(&mut self, stripe: Tensor) -> Result<Window> {
        let above = Vec::from_iter(self.above.take());
        let below = self.below()?;
        let parts: Vec<&Tensor> = above.iter().chain([&stripe]).chain(&below).collect();
        let rows = Tensor::cat(&parts, ROWS)?;
        let (above, below) = (height(&above)?, height(&below)?);
        let end_of_stripe = above + stripe.dim(ROWS)?;
        let kept = end_of_stripe.min(self.halo);
        self.above = Some(copied_rows(&rows, end_of_stripe - kept, kept)?);
        Ok(Window { stripe, rows, above, below })
    }

    /// The first rows below the stripe, at most `halo` of them. They come from several stripes
    /// where one has fewer rows.
    fn below(&self) -> Result<Vec<Tensor>> {
        let mut parts = Vec::new();
        for stripe in &self.rest {
            let missing = self.halo - height(&parts)?;
            if missing == 0 {
                break;
            }
            parts.push(stripe.narrow(ROWS, 0, missing.min(stripe.dim(ROWS)?))?);
        }
        Ok(parts)
    }
}

/// `count` rows of `x` from `first` on, or `x` itself where it has no others. A copy, because a
/// view would keep all of `x` in memory.
fn copied_rows(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    if count == x.dim(ROWS)? {
        return Ok(x.clone());
    }
    x.narrow(ROWS, first, count)?.force_contiguous()
}

/// How many rows `parts` have together.
fn height(parts: &[Tensor]) -> Result<usize> {
    parts.iter().map(|part| part.dim(ROWS)).sum()
}

/// A stripe, and what has been computed so far from it and from the rows around it.
pub struct Window {
    /// The stripe as it was.
    pub stripe: Tensor,
    /// (1, rows, width, channels): the halo above, the stripe, the halo below.
    pub rows: Tensor,
    /// Rows of the halo above the stripe.
    above: usize,
    /// Rows of the halo below the stripe.
    below: usize,
}

impl Window {
    /// The same window after `compute`, which keeps height and width. The old rows are released.
    pub fn map(self, compute: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Window> {
        Ok(Window { rows: compute(&self.rows)?, ..self })
    }

    /// The same window after `compute`, which doubles height and width.
    pub fn doubled(self, compute: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Window> {
        let (above, below) = (2 * self.above, 2 * self.below);
        Ok(Window { above, below, ..self.map(compute)? })
    }

    /// The rows from the stripe's first on, without the halo above.
    pub fn without_above(self) -> Result<Tensor> {
        copied_rows(&self.rows, self.above, self.rows.dim(ROWS)? - self.above)
    }

    /// Crops the halo to at most `halo` rows on each side. After a 3x3 convolution that must be one
    /// row less than before, because the outermost row is wrong.
    pub fn crop(self, halo: usize) -> Result<Window> {
        let above = self.above.min(halo);
        let below = self.below.min(halo);
        let first = self.above - above;
        let last = self.rows.dim(ROWS)? - (self.below - below);
        let cropped = self.map(|all| copied_rows(all, first, last - first))?;
        Ok(Window { above, below, ..cropped })
    }
}

/// One resolution of a decode in stripes, for predictions of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripedSize {
    pub backend: Backend,
    /// Width of the whole activation.
    pub width: usize,
    /// Height of the whole activation.
    pub height: usize,
    /// Rows of the highest stripe.
    pub stripe_rows: usize,
    /// Whether there is more than one stripe.
    pub is_cut: bool,
}

impl StripedSize {
    /// An activation of `width` by `height`, cut as [`Striped::cut`] does.
    pub fn cut(backend: Backend, width: usize, height: usize, rows: usize) -> StripedSize {
        let count = height.div_ceil(rows);
        let stripe_rows = height.div_ceil(count);
        StripedSize { backend, width, height, stripe_rows, is_cut: count > 1 }
    }

    /// The same after an upsampling.
    pub fn doubled(self) -> StripedSize {
        self.times(2)
    }

    /// The same after a downsampling.
    pub fn halved(self) -> StripedSize {
        StripedSize {
            width: self.width / 2,
            height: self.height / 2,
            stripe_rows: self.stripe_rows / 2,
            ..self
        }
    }

    /// The same at `factor` times the height and the width.
    pub fn times(self, factor: usize) -> StripedSize {
        StripedSize {
            width: factor * self.width,
            height: factor * self.height,
            stripe_rows: factor * self.stripe_rows,
            ..self
        }
    }

    /// Bytes of the whole activation.
    pub fn activation_bytes(&self, channels: usize) -> usize {
        activation_bytes(self.backend, channels, self.width * self.height)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self, channels: usize) -> usize {
        activation_bytes(self.backend, channels, self.width)
    }

    /// Pixels of the highest stripe's window with `halo` rows on each side.
    pub fn window_pixels(&self, halo: usize) -> usize {
        (self.stripe_rows + 2 * halo).min(self.height) * self.width
    }

    /// What is only allocated where there is more than one stripe.
    pub fn if_cut(&self, bytes: usize) -> usize {
        if self.is_cut { bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two channels, two columns, and each row another number.
    fn picture(height: usize) -> Tensor {
        let rows = Tensor::arange(0, height as u32, &Device::Cpu).unwrap();
        rows.reshape((1, height, 1, 1)).unwrap().broadcast_as((1, height, 2, 2)).unwrap()
    }

    /// The numbers of the rows, the same in every channel and column.
    fn numbers(rows: &Tensor) -> Vec<usize> {
        let all = rows.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let (of_rows, []) = all.as_chunks::<4>() else { panic!("whole rows") };
        assert!(of_rows.iter().all(|row| *row == [row[0]; 4]));
        of_rows.iter().map(|row| row[0] as usize).collect()
    }

    #[test]
    fn stripes_are_no_higher_than_asked_and_about_as_high() {
        for height in 1..40 {
            for rows in 1..12 {
                let striped = Striped::cut(&picture(height), rows).unwrap();
                let heights: Vec<usize> =
                    striped.stripes().map(|stripe| stripe.dim(ROWS).unwrap()).collect();
                let (least, most) = (heights.iter().min().unwrap(), heights.iter().max().unwrap());
                assert!(*most <= rows && most - least <= 1, "{height} in {rows}: {heights:?}");
                assert_eq!(
                    striped.stripes().flat_map(numbers).collect::<Vec<_>>(),
                    Vec::from_iter(0..height)
                );
            }
        }
    }

    #[test]
    fn a_window_is_the_stripe_with_what_there_is_around_it() {
        for (height, rows, halo) in
            [(9, 3, 1), (9, 3, 2), (7, 2, 2), (4, 1, 1), (4, 1, 2), (5, 2, 4), (3, 8, 2)]
        {
            let mut start = 0;
            for window in Striped::cut(&picture(height), rows).unwrap().into_windows(halo) {
                let window = window.unwrap();
                let end = start + window.stripe.dim(ROWS).unwrap();
                let around = |halo: usize| {
                    Vec::from_iter(start.saturating_sub(halo)..(end + halo).min(height))
                };
                assert_eq!(numbers(&window.rows), around(halo));
                let window = window.crop(1).unwrap();
                assert_eq!(numbers(&window.rows), around(1));
                assert_eq!(numbers(&window.crop(0).unwrap().rows), around(0));
                start = end;
            }
            assert_eq!(start, height);
        }
    }
}
