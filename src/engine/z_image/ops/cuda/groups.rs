//! GroupNorm by the kernels of `groups.cu`: the groups' moments, and with them the values.

use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};
use candle_core::{CudaDevice, CudaStorage, Result, Shape};

use super::kernels::{WARP, launch, narrow};
use super::{CHUNK, Operand, ValuesMut, chunks, output};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/groups.ptx"));

const BLOCK_THREADS: usize = 256;

/// Chunks that a thread reads at least, where a block has so many: few enough to occupy a card.
const THREAD_CHUNKS: usize = 16;

/// The most blocks for an item: all of a card's threads, so that one that is done need not be
/// followed by another.
const PARTS_MAX: usize = 1024;

/// The moments of a group, as the kernels have them.
const MOMENTS: usize = 3;

/// What a norm is by.
pub struct Normalising<'a> {
    pub groups: usize,
    /// Count, mean and sum of squared deviations of each group of the only item; those of the
    /// operand itself where there are none.
    pub given: Option<&'a [[f32; MOMENTS]]>,
    pub eps: f32,
    pub silu: bool,
}

/// (b, pixels, channels), and into how many parts the kernels divide the pixels.
struct Sizes {
    items: usize,
    pixels: usize,
    channels: usize,
    groups: usize,
    part_pixels: usize,
    parts: usize,
}

impl Sizes {
    fn of(x: Operand, groups: usize) -> Result<Sizes> {
        let (items, h, w, channels) = x.1.shape().dims4()?;
        assert!(channels.is_multiple_of(CHUNK) && channels <= BLOCK_THREADS * CHUNK);
        assert!(groups > 0 && channels.is_multiple_of(groups));
        let pixels = h * w;
        let least = BLOCK_THREADS / (channels / CHUNK) * THREAD_CHUNKS;
        let part_pixels = pixels.div_ceil(PARTS_MAX).max(least);
        let parts = pixels.div_ceil(part_pixels);
        Ok(Sizes { items, pixels, channels, groups, part_pixels, parts })
    }
}

/// Count, mean and sum of squared deviations of each of `groups` groups of the channels of `x` (b,
/// h, w, c): (b * groups, 3), f32.
pub fn moments(x: Operand, groups: usize) -> Result<(CudaStorage, Shape)> {
    let sizes = Sizes::of(x, groups)?;
    let device = &x.0.device;
    let all_groups = sizes.items * groups;
    let (parts, _) = output(device, (all_groups, sizes.parts, MOMENTS), |mut parts| {
        launch_moments(x, &mut parts, &sizes)
    })?;
    let parts = parts.as_cuda_slice::<f32>()?.as_view();
    output(device, (all_groups, MOMENTS), |mut out| {
        launch_join(device, &parts, &mut out, sizes.parts)
    })
}

/// `parts` (b, groups, parts, 3).
fn launch_moments(x: Operand, parts: &mut CudaViewMut<f32>, sizes: &Sizes) -> Result<()> {
    let xs = chunks(x)?;
    assert!(xs.len() == sizes.items * sizes.pixels * sizes.channels);
    assert!(parts.len() == sizes.items * sizes.groups * sizes.parts * MOMENTS);
    let function = x.0.device.get_or_load_custom_func("moments", "zimaged-groups", PTX)?;
    let mut arguments = function.builder();
    let [pixels, channels] = [narrow(sizes.pixels)?, narrow(sizes.channels)?];
    let [groups, part_pixels] = [narrow(sizes.groups)?, narrow(sizes.part_pixels)?];
    arguments.arg(&xs).arg(parts).arg(&pixels).arg(&channels).arg(&groups).arg(&part_pixels);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [sizes.parts, sizes.items, 1], BLOCK_THREADS) }
}

/// `parts` (groups, count, 3), `out` (groups, 3).
fn launch_join(
    device: &CudaDevice,
    parts: &CudaView<f32>,
    out: &mut CudaViewMut<f32>,
    count: usize,
) -> Result<()> {
    let groups = out.len() / MOMENTS;
    assert!(out.len() == groups * MOMENTS && parts.len() == out.len() * count);
    let function = device.get_or_load_custom_func("join_moments", "zimaged-groups", PTX)?;
    let mut arguments = function.builder();
    let part_count = narrow(count)?;
    arguments.arg(parts).arg(out).arg(&part_count);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [groups, 1, 1], WARP) }
}

/// GroupNorm of `x` (b, h, w, c), then SiLU if asked.
pub fn group_norm(
    x: Operand,
    affine: [Operand; 2],
    norm: &Normalising,
) -> Result<(CudaStorage, Shape)> {
    match norm.given {
        Some(given) => {
            let moments = x.0.device.clone_htod(given.as_flattened())?;
            normalise(x, &moments.as_view(), affine, norm)
        }
        None => {
            let (found, _) = moments(x, norm.groups)?;
            normalise(x, &found.as_cuda_slice::<f32>()?.as_view(), affine, norm)
        }
    }
}

fn normalise(
    x: Operand,
    moments: &CudaView<f32>,
    [weight, bias]: [Operand; 2],
    norm: &Normalising,
) -> Result<(CudaStorage, Shape)> {
    let sizes = Sizes::of(x, norm.groups)?;
    let (xs, weights, biases) = (chunks(x)?, chunks(weight)?, chunks(bias)?);
    assert!(xs.len() == sizes.items * sizes.pixels * sizes.channels);
    assert!(weights.len() == sizes.channels && biases.len() == sizes.channels);
    assert!(moments.len() == sizes.items * sizes.groups * MOMENTS);
    let function = x.0.device.get_or_load_custom_func("group_norm", "zimaged-groups", PTX)?;
    output(&x.0.device, x.1.shape(), |mut out: ValuesMut| {
        let mut arguments = function.builder();
        let [pixels, channels] = [narrow(sizes.pixels)?, narrow(sizes.channels)?];
        let [groups, part_pixels] = [narrow(sizes.groups)?, narrow(sizes.part_pixels)?];
        arguments.arg(&xs).arg(moments).arg(&weights).arg(&biases).arg(&mut out);
        arguments.arg(&pixels).arg(&channels).arg(&groups).arg(&part_pixels);
        arguments.arg(&norm.eps).arg(&norm.silu);
        // SAFETY: the arguments are the kernel's, and their lengths are asserted.
        unsafe { launch(arguments, [sizes.parts, sizes.items, 1], BLOCK_THREADS) }
    })
}
