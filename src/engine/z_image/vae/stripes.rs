//! An activation in stripes, bands of rows over its whole width: what one convolution after the
//! other needs of the neighbours goes into a window, so that stripe by stripe the result is that of
//! the whole.

use std::collections::VecDeque;

use candle_core::{Result, Tensor, bail};

use crate::engine::z_image::ops;

/// The dimension of the rows in (1, channels, rows, width).
const ROWS: usize = 2;

/// The activation of one picture (1, channels, height, width) as tensors (1, channels, rows,
/// width), from the top.
#[derive(Clone)]
pub struct Striped {
    stripes: VecDeque<Tensor>,
}

impl Striped {
    /// Copies `x` (1, channels, height, width) into as few stripes as there are with at most `rows`
    /// rows, at least 1, all about as high.
    pub fn cut(x: &Tensor, rows: usize) -> Result<Striped> {
        let (1, _, height, _) = x.dims4()? else {
            bail!("only a single picture is cut into stripes: {x:?}")
        };
        let count = height.div_ceil(rows);
        let start = |i: usize| i * height / count;
        (0..count)
            .map(|i| x.narrow(ROWS, start(i), start(i + 1) - start(i))?.contiguous())
            .collect()
    }

    /// The stripes from the top.
    pub fn stripes(&self) -> impl Iterator<Item = &Tensor> {
        self.stripes.iter()
    }

    /// A window onto each stripe from the top, with up to `halo` rows, at least 1, of what lies
    /// above and below. A stripe is released when its window is: after it, only the last `halo`
    /// rows are kept.
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
    rest: VecDeque<Tensor>,
    /// The last rows above the next stripe, at most `halo`; none at the top.
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
        let (above, below) = (Vec::from_iter(self.above.take()), self.below()?);
        let parts: Vec<&Tensor> = above.iter().chain([&stripe]).chain(&below).collect();
        let rows = Tensor::cat(&parts, ROWS)?;
        let (above, below) = (height(&above)?, height(&below)?);
        let end = above + stripe.dim(ROWS)?;
        let kept = end.min(self.halo);
        self.above = Some(rows.narrow(ROWS, end - kept, kept)?.contiguous()?);
        Ok(Window { stripe, rows, above, below })
    }

    /// The first rows of the rest, at most `halo`: of several stripes where these are lower.
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

/// The rows of all together.
fn height(parts: &[Tensor]) -> Result<usize> {
    parts.iter().map(|part| part.dim(ROWS)).sum()
}

/// What is computed from a stripe with the rows around it that the convolutions to come see.
pub struct Window {
    /// The stripe as it was.
    pub stripe: Tensor,
    /// (1, channels, rows, width): the stripe's rows as far as computed, those above before and
    /// those below after them.
    pub rows: Tensor,
    above: usize,
    below: usize,
}

impl Window {
    /// The window of what `compute` makes of all rows; the old ones are released.
    pub fn map(self, compute: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Window> {
        Ok(Window { rows: compute(&self.rows)?, ..self })
    }

    /// Twice as many rows and columns, each pixel repeated.
    pub fn upsample(self) -> Result<Window> {
        let (above, below) = (2 * self.above, 2 * self.below);
        Ok(Window { above, below, ..self.map(ops::upsample_nearest2)? })
    }

    /// With at most `halo` rows above and below: after a 3x3 convolution one row less than before,
    /// since the outermost saw zeros in place of the rows beyond. Where the window ends with the
    /// picture the zeros were right, and there are no rows to drop but those that `halo` spares.
    pub fn trim(self, halo: usize) -> Result<Window> {
        let (above, below) = (self.above.min(halo), self.below.min(halo));
        let (first, dropped) = (self.above - above, self.above - above + self.below - below);
        let rows = self.rows.dim(ROWS)? - dropped;
        // A copy, so that the rows dropped take no memory.
        Ok(Window { above, below, ..self.map(|all| all.narrow(ROWS, first, rows)?.contiguous())? })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two channels, two columns, and each row another number.
    fn picture(height: usize) -> Tensor {
        let rows = Tensor::arange(0, height as u32, &Device::Cpu).unwrap();
        rows.reshape((1, 1, height, 1)).unwrap().broadcast_as((1, 2, height, 2)).unwrap()
    }

    /// The numbers of the rows, the same in every channel and column.
    fn numbers(rows: &Tensor) -> Vec<usize> {
        let height = rows.dim(ROWS).unwrap();
        let first: Vec<u32> = rows
            .narrow(3, 0, 1)
            .unwrap()
            .narrow(1, 0, 1)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let all = rows.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert!(all.chunks_exact(2 * height).all(|plane| plane.iter().step_by(2).eq(&first)));
        first.into_iter().map(|row| row as usize).collect()
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
                let window = window.trim(1).unwrap();
                assert_eq!(numbers(&window.rows), around(1));
                assert_eq!(numbers(&window.trim(0).unwrap().rows), around(0));
                start = end;
            }
            assert_eq!(start, height);
        }
    }
}
