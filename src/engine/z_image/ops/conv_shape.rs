//! The shape of a convolution with stride 1, which all its implementations share.

use candle_core::{Layout, Result};

/// The most that a band of the columns of im2col takes on a card. Whole, they would be 2.4 GB for
/// the VAE's last block at 1024x1024, and more than 32-bit indices reach at 2048x2048.
pub(super) const IM2COL_BYTES: usize = 64 << 20;

/// Sizes of the input (batch, inputs, height, width), of the weight (outputs, inputs, kernel,
/// kernel), and the zeros around the input.
pub(super) struct ConvShape {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub padding: usize,
    pub height: usize,
    pub width: usize,
}

impl ConvShape {
    pub fn of(x: &Layout, weight: &Layout, padding: usize) -> Result<ConvShape> {
        let (batch, inputs, height, width) = x.shape().dims4()?;
        let (outputs, _, kernel, _) = weight.shape().dims4()?;
        Ok(ConvShape { batch, inputs, outputs, kernel, padding, height, width })
    }

    pub fn out_height(&self) -> usize {
        self.height + 2 * self.padding + 1 - self.kernel
    }

    pub fn out_width(&self) -> usize {
        self.width + 2 * self.padding + 1 - self.kernel
    }

    /// Pixels of one channel of the result.
    pub fn out_plane(&self) -> usize {
        self.out_height() * self.out_width()
    }

    pub fn out_dims(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.outputs, self.out_height(), self.out_width())
    }

    /// Input values under one output pixel: the length of a column of im2col.
    pub fn column(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }
}
