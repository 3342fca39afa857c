//! The shape of a convolution, which all its implementations share.

use candle_core::{Layout, Result};

/// How a kernel goes over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// How far it goes from one pixel of the result to the next.
    pub(super) stride: usize,
    /// Rows of zeros above the input, and columns left of it.
    pub(super) before: usize,
    /// Rows of zeros below the input, and columns right of it.
    pub(super) after: usize,
    /// Whether it sees each pixel of the input as a square of four.
    pub(super) doubled: bool,
}

impl Sliding {
    /// Pixel by pixel, with `padding` zeros on every side.
    pub fn dense(padding: usize) -> Sliding {
        Sliding { stride: 1, before: padding, after: padding, doubled: false }
    }

    /// Every second pixel, with zeros below and on the right: the result of a 3x3 kernel has half
    /// the height and the width.
    pub const HALVING: Sliding = Sliding { stride: 2, before: 0, after: 1, doubled: false };

    /// Pixel by pixel over the input doubled each way, each pixel repeated: the result of a 3x3
    /// kernel has twice the height and the width.
    pub const DOUBLING: Sliding = Sliding { stride: 1, before: 1, after: 1, doubled: true };

    /// How many pixels of the kernel's picture one pixel of the input is, each way.
    pub(super) fn scale(self) -> usize {
        1 + usize::from(self.doubled)
    }

    /// How often it stops along `length` pixels of the input.
    fn stops(self, length: usize, kernel: usize) -> usize {
        (length * self.scale() + self.before + self.after - kernel) / self.stride + 1
    }
}

/// Sizes of the input (batch, height, width, inputs), of the weight (outputs, kernel, kernel,
/// inputs), and how that goes over the input.
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
        let (batch, height, width, inputs) = x.shape().dims4()?;
        let (outputs, kernel, _, _) = weight.shape().dims4()?;
        Ok(ConvShape { batch, inputs, outputs, kernel, sliding, height, width })
    }

    pub fn out_height(&self) -> usize {
        self.sliding.stops(self.height, self.kernel)
    }

    pub fn out_width(&self) -> usize {
        self.sliding.stops(self.width, self.kernel)
    }

    /// Pixels of one item of the result.
    pub fn out_plane(&self) -> usize {
        self.out_height() * self.out_width()
    }

    pub fn out_dims(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.out_height(), self.out_width(), self.outputs)
    }

    /// Values of one item of the input.
    pub fn item(&self) -> usize {
        self.height * self.width * self.inputs
    }

    /// Input values under one output pixel: the length of a row of im2col.
    pub fn window(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }
}
