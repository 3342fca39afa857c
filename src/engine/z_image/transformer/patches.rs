//! Latents to rows of patches and back, and the padding of rows.

use candle_core::{Result, Tensor};

use crate::engine::z_image::geometry::ROWS_MULTIPLE;

/// How latents of one size are cut into square patches.
pub struct PatchGrid {
    rows: usize,
    columns: usize,
    patch: usize,
}

impl PatchGrid {
    /// For latents of `height` by `width`, both multiples of `patch`.
    pub fn new(height: usize, width: usize, patch: usize) -> PatchGrid {
        PatchGrid { rows: height / patch, columns: width / patch, patch }
    }

    /// How many patches there are, padding not counted.
    pub fn patches(&self) -> usize {
        self.rows * self.columns
    }

    /// (b, channels, height, width) to (b, patches, patch * patch * channels), the channels
    /// fastest.
    pub fn patchify(&self, latents: &Tensor) -> Result<Tensor> {
        let (b, channels, _, _) = latents.dims4()?;
        let cut =
            latents.reshape(&[b, channels, self.rows, self.patch, self.columns, self.patch][..])?;
        cut.permute([0, 2, 4, 3, 5, 1])?.reshape((b, self.patches(), ()))
    }

    /// The inverse of [`PatchGrid::patchify`].
    pub fn unpatchify(&self, patches: &Tensor) -> Result<Tensor> {
        let (b, _, patch_dim) = patches.dims3()?;
        let (p, channels) = (self.patch, patch_dim / (self.patch * self.patch));
        let cut = patches.reshape(&[b, self.rows, self.columns, p, p, channels][..])?;
        cut.permute([0, 5, 1, 3, 2, 4])?.reshape((b, channels, self.rows * p, self.columns * p))
    }

    /// The position (frame, row, column) of every patch, the frame being `first`. The positions of
    /// the padding are all 0.
    pub fn positions(&self, first: usize) -> Vec<[usize; 3]> {
        let of_row = |row| (0..self.columns).map(move |column| [first, row, column]);
        let mut positions: Vec<_> = (0..self.rows).flat_map(of_row).collect();
        positions.resize(positions.len().next_multiple_of(ROWS_MULTIPLE), [0, 0, 0]);
        positions
    }
}

/// Pads the rows of `x` (b, rows, dim) with `token` (1, dim).
pub fn pad_rows(x: &Tensor, token: &Tensor) -> Result<Tensor> {
    let (b, rows, dim) = x.dims3()?;
    let missing = rows.next_multiple_of(ROWS_MULTIPLE) - rows;
    if missing == 0 {
        return Ok(x.clone());
    }
    Tensor::cat(&[x, &token.unsqueeze(0)?.broadcast_as((b, missing, dim))?], 1)
}
