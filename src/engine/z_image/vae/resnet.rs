//! A residual block, over a whole activation or stripe by stripe.

use candle_core::{Result, Tensor};

use super::layers::{Conv, GroupNorm, activation_bytes};
use super::stripes::{Striped, StripedSize, Window};
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::device_memory::DeviceMemory;
use crate::engine::z_image::live::Live;
use crate::engine::z_image::ops::{self, GroupMoments};
use crate::engine::z_image::weights::Weights;

/// Two convolutions, each after a norm, beside a shortcut.
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv>,
    outputs: usize,
}

impl ResnetBlock {
    pub fn new(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        weights: &Weights,
    ) -> Result<ResnetBlock> {
        let shortcut = || Conv::new(inputs, outputs, 1, &weights.prefixed("conv_shortcut"));
        Ok(ResnetBlock {
            norm1: GroupNorm::new(config, inputs, &weights.prefixed("norm1"))?,
            conv1: Conv::new(inputs, outputs, 3, &weights.prefixed("conv1"))?,
            norm2: GroupNorm::new(config, outputs, &weights.prefixed("norm2"))?,
            conv2: Conv::new(outputs, outputs, 3, &weights.prefixed("conv2"))?,
            conv_shortcut: (inputs != outputs).then(shortcut).transpose()?,
            outputs,
        })
    }

    /// `x` (b, h, w, inputs) to (b, h, w, outputs). Asks `memory` for [`whole_bytes`].
    pub fn forward(&self, x: &Tensor, memory: &DeviceMemory) -> Result<Tensor> {
        let (b, h, w, inputs) = x.dims4()?;
        memory.require(whole_bytes(memory.backend(), b * h * w, inputs, self.outputs))?;
        // `y` is assigned again and again, so that each result is freed when the next is there.
        let mut y = self.norm1.forward_silu(x)?;
        y = self.conv1.forward(&y)?;
        y = self.norm2.forward_silu(&y)?;
        let Some(conv) = &self.conv_shortcut else { return self.conv2.forward_add(&y, x) };
        y = self.conv2.forward(&y)?;
        conv.forward_add(x, &y)
    }

    /// As [`ResnetBlock::forward`], in three passes over the stripes. The second norm needs the
    /// moments of the first convolution's whole result before the second convolution can begin
    /// anywhere. That result is computed twice, because keeping it would take as much memory as
    /// another activation.
    pub fn forward_striped(&self, x: Striped, memory: &DeviceMemory) -> Result<Striped> {
        let first = self.norm1.moments(x.stripes().map(Ok))?;
        let second = self.second_moments(x.clone(), &first, memory)?;
        x.into_windows(2).map(|window| self.finish(window?, [&first, &second], memory)).collect()
    }

    /// The second pass: the moments that the second norm needs. A window of one row around each
    /// stripe is enough for the one convolution.
    fn second_moments(
        &self,
        x: Striped,
        first: &GroupMoments,
        memory: &DeviceMemory,
    ) -> Result<GroupMoments> {
        let stripe =
            |window: Result<Window>| Ok(self.first_half(window?, first, memory)?.crop(0)?.rows);
        self.norm2.moments(x.into_windows(1).map(stripe))
    }

    /// The third pass: the block's result for the stripe of `window`, which has two rows around it
    /// for the two convolutions.
    fn finish(
        &self,
        window: Window,
        [first, second]: [&GroupMoments; 2],
        memory: &DeviceMemory,
    ) -> Result<Tensor> {
        let mut window = self.first_half(window, first, memory)?.crop(1)?;
        window = window.map(|y| self.norm2.forward_silu_of_part(y, second))?;
        window = window.map(|y| self.conv2.forward(y))?.crop(0)?;
        match &self.conv_shortcut {
            Some(conv) => conv.forward_add(&window.stripe, &window.rows),
            None => ops::add(&window.stripe, &window.rows),
        }
    }

    /// The first norm and the first convolution, after which the outermost rows are wrong.
    fn first_half(
        &self,
        window: Window,
        moments: &GroupMoments,
        memory: &DeviceMemory,
    ) -> Result<Window> {
        let (_, h, w, inputs) = window.rows.dims4()?;
        memory.require(window_bytes(memory.backend(), h * w, inputs, self.outputs))?;
        let window = window.map(|x| self.norm1.forward_silu_of_part(x, moments))?;
        window.map(|y| self.conv1.forward(y))
    }
}

/// The most that [`ResnetBlock::forward`] needs beside its input.
pub fn whole_bytes(backend: Backend, pixels: usize, inputs: usize, outputs: usize) -> usize {
    let [x, y] = [inputs, outputs].map(|channels| activation_bytes(backend, channels, pixels));
    let conv_scratch = |inputs| ops::conv2d_bytes(backend, pixels, inputs);
    let mut live = Live::new();
    live.hold(x); // the first norm
    live.replace(x, y, conv_scratch(inputs));
    live.replace(y, y, 0); // the second norm
    live.replace(y, y, conv_scratch(outputs)); // the second convolution, with the sum
    if inputs != outputs {
        live.hold(y + conv_scratch(inputs)); // the shortcut's, which has the sum then
    }
    live.peak()
}

/// The most that a norm and a convolution of a window of so many pixels need beside the window,
/// which is released after the norm; and a second norm and convolution, where those give more
/// channels than the window has.
pub fn window_bytes(backend: Backend, pixels: usize, inputs: usize, outputs: usize) -> usize {
    let [x, y] = [inputs, outputs].map(|channels| activation_bytes(backend, channels, pixels));
    let second = 2 * y + ops::conv2d_bytes(backend, pixels, outputs);
    let second = if y > x { second - x } else { 0 };
    x.max(y + ops::conv2d_bytes(backend, pixels, inputs)).max(second)
}

/// The most that [`ResnetBlock::forward_striped`] needs, its input and its result included.
pub fn striped_bytes(size: &StripedSize, inputs: usize, outputs: usize) -> usize {
    let input = size.activation_bytes(inputs);
    let result = size.activation_bytes(outputs);
    let second_pass = input + pass_bytes(size, inputs, outputs, 1);
    // Stripes of the input are released as stripes of the result come, but for the last window's.
    let third_pass = input.max(result)
        + size.if_cut(size.row_bytes(inputs))
        + pass_bytes(size, inputs, outputs, 2);
    second_pass.max(third_pass)
}

/// The most that one window with `halo` rows on each side needs on its way through the block.
fn pass_bytes(size: &StripedSize, inputs: usize, outputs: usize, halo: usize) -> usize {
    let window_pixels = size.window_pixels(halo);
    let inner_pixels = size.window_pixels(halo - 1);
    let bytes = |channels, pixels| activation_bytes(size.backend, channels, pixels);
    let conv_scratch = |pixels, inputs| ops::conv2d_bytes(size.backend, pixels, inputs);
    let copy = size.if_cut(bytes(inputs, window_pixels));
    let normed = bytes(inputs, window_pixels);
    let convolved = bytes(outputs, window_pixels);
    let cropped = bytes(outputs, inner_pixels);
    let mut live = Live::new();
    live.hold(size.if_cut(size.row_bytes(inputs))); // the rows above the next stripe
    live.hold(copy); // the window's rows side by side
    live.replace(copy, normed, 0);
    live.replace(normed, convolved, conv_scratch(window_pixels, inputs));
    live.replace(convolved, cropped, 0);
    live.replace(cropped, cropped, 0); // the second norm
    live.replace(cropped, cropped, conv_scratch(inner_pixels, outputs));
    live.peak()
}
