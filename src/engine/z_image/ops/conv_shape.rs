//! The shape of a convolution, which all its implementations share.

use candle_core::{Layout, Result};

/// The most that a band of the columns of im2col takes on a card. Whole, they would be 2.4 GB for
/// the VAE's last block at 1024x1024, and more than 32-bit indices reach at 2048x2048.
pub(super) const IM2COL_BYTES: usize = 64 << 20;

/// How a kernel goes over its input.
#[derive(Clone, Copy)]
pub(super) struct Sliding {
    /// How far it goes from one pixel of the result to the next.
    pub stride: usize,
    /// Rows of zeros above the input, and columns left of it.
    pub before: usize,
    /// Rows of zeros below the input, and columns right of it.
    pub after: usize,
}

impl Sliding {
    /// Pixel by pixel, with `padding` zeros on every side.
    pub fn dense(padding: usize) -> Sliding {
        Sliding { stride: 1, before: padding, after: padding }
    }

    /// Every second pixel, with zeros below and on the right: the result of a 3x3 kernel has half
    /// the height and the width.
    pub const HALVING: Sliding = Sliding { stride: 2, before: 0, after: 1 };

    /// Whether a kernel of one pixel gives as many pixels as there are.
    #[cfg(feature = "cuda")]
    pub fn is_plain(self) -> bool {
        self.stride == 1 && self.before + self.after == 0
    }

    /// How often it stops along `length` pixels.
    fn stops(self, length: usize, kernel: usize) -> usize {
        (length + self.before + self.after - kernel) / self.stride + 1
    }
}

/// Sizes of the input (batch, inputs, height, width), of the weight (outputs, inputs, kernel,
/// kernel), and how that goes over the input.
pub(super) struct ConvShape {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub sliding: Sliding,
    pub height: usize,
    pub width: usize,
}

impl ConvShape {
    pub fn of(x: &Layout, weight: &Layout, sliding: Sliding) -> Result<ConvShape> {
        let (batch, inputs, height, width) = x.shape().dims4()?;
        let (outputs, _, kernel, _) = weight.shape().dims4()?;
        Ok(ConvShape { batch, inputs, outputs, kernel, sliding, height, width })
    }

    pub fn out_height(&self) -> usize {
        self.sliding.stops(self.height, self.kernel)
    }

    pub fn out_width(&self) -> usize {
        self.sliding.stops(self.width, self.kernel)
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
