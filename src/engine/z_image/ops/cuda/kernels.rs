//! The kernels of `kernels.cu`: one function for each, with its arguments in their order and their
//! widths. Each asserts that the lengths of its arguments are what the kernel reads and writes.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaView, CudaViewMut, LaunchArgs, LaunchConfig, PushKernelArg,
};
use candle_core::{CudaDevice, Error, Result};

use super::{CHUNK, Values, ValuesMut};
use crate::engine::z_image::ops::conv_shape::{ConvShape, Sliding};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Threads of a block: whole warps, and at most so many.
pub(super) const WARP: usize = 32;
const THREADS_MAX: usize = 256;

/// Values of a channel that one block of GroupNorm normalises.
const NORM_VALUES: usize = 64 << 10;

/// Each query sees one key more than the one before it, the first one `first_seen`.
pub fn softmax(
    device: &CudaDevice,
    scores: &mut ValuesMut,
    (queries, keys): (usize, usize),
    first_seen: usize,
    scale: f32,
) -> Result<()> {
    let rows = scores.len() / keys;
    assert!(scores.len() == rows * keys && rows.is_multiple_of(queries));
    let function = device.get_or_load_custom_func("softmax", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let [row, queries, first_seen] = [narrow(keys)?, narrow(queries)?, narrow(first_seen)?];
    arguments.arg(scores).arg(&row).arg(&queries).arg(&first_seen).arg(&scale);
    // SAFETY: the arguments are the kernel's, and it keeps to `rows` rows.
    unsafe { launch(arguments, [rows, 1, 1], threads(keys)) }
}

/// `x` and `out` (b, s, heads, dim), `cos` and `sin` (s, dim / 2).
pub fn rope(
    device: &CudaDevice,
    x: &Values,
    cos: &CudaView<f32>,
    sin: &CudaView<f32>,
    out: &mut ValuesMut,
    (b, s, heads, dim): (usize, usize, usize, usize),
    interleaved: bool,
) -> Result<()> {
    let half = dim / 2;
    assert!(x.len() == b * s * heads * 2 * half && out.len() == x.len());
    assert!(cos.len() == s * half && sin.len() == cos.len());
    let function = device.get_or_load_custom_func("rope", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let pairs = narrow(half)?;
    arguments.arg(x).arg(cos).arg(sin).arg(out).arg(&pairs).arg(&interleaved);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [s, heads, b], threads(half)) }
}

/// `x` (b, rows, columns, d), `out` (b, columns, rows, d).
pub fn transpose(
    device: &CudaDevice,
    x: &Values,
    out: &mut ValuesMut,
    (b, rows, columns, d): (usize, usize, usize, usize),
) -> Result<()> {
    assert!(x.len() == b * rows * columns * d && out.len() == x.len());
    let function = device.get_or_load_custom_func("transpose", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let [row_count, column_count, width] = [narrow(rows)?, narrow(columns)?, narrow(d)?];
    arguments.arg(x).arg(out).arg(&row_count).arg(&column_count).arg(&width);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [rows * columns, b, 1], threads(d)) }
}

/// The matrix of im2col for the rows of the result from `first` on that `out` has room for.
pub fn im2col(
    device: &CudaDevice,
    x: &Values,
    out: &mut ValuesMut,
    shape: &ConvShape,
    first: usize,
) -> Result<()> {
    let pixels = out.len() / shape.column();
    assert!(x.len() == shape.inputs * shape.height * shape.width);
    assert!(out.len() == shape.column() * pixels);
    assert!(first * shape.out_width() + pixels <= shape.out_plane());
    let function = device.get_or_load_custom_func("im2col", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let count = narrow(pixels)?;
    let [height, width] = [narrow(shape.height)?, narrow(shape.width)?];
    let Sliding { stride, before, .. } = shape.sliding;
    let [kernel, before, stride] = [narrow(shape.kernel)?, narrow(before)?, narrow(stride)?];
    let [first, out_width] = [narrow(first)?, narrow(shape.out_width())?];
    arguments.arg(x).arg(out).arg(&count).arg(&height).arg(&width);
    arguments.arg(&kernel).arg(&before).arg(&stride).arg(&first).arg(&out_width);
    let blocks = [pixels.div_ceil(THREADS_MAX), shape.column(), 1];
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, blocks, THREADS_MAX) }
}

/// Every value of each channel of `out` becomes the channel's bias.
pub fn broadcast_bias(device: &CudaDevice, bias: &Values, out: &mut ValuesMut) -> Result<()> {
    let channels = bias.len();
    let plane = out.len() / channels;
    assert!(out.len() == channels * plane);
    let function = device.get_or_load_custom_func("broadcast_bias", "zimaged", PTX)?;
    let mut arguments = function.builder();
    arguments.arg(bias).arg(out).arg(&plane);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [plane.div_ceil(THREADS_MAX), channels, 1], THREADS_MAX) }
}

/// `x` (planes, h, w), `out` (planes, 2 h, 2 w).
pub fn upsample(
    device: &CudaDevice,
    x: &Values,
    out: &mut ValuesMut,
    (planes, h, w): (usize, usize, usize),
) -> Result<()> {
    assert!(x.len() == planes * h * w && out.len() == 4 * x.len());
    let function = device.get_or_load_custom_func("upsample", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let [height, width] = [narrow(h)?, narrow(w)?];
    arguments.arg(x).arg(out).arg(&height).arg(&width);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [(4 * h * w).div_ceil(THREADS_MAX), planes, 1], THREADS_MAX) }
}

pub fn swiglu(device: &CudaDevice, gate: &Values, up: &Values, out: &mut ValuesMut) -> Result<()> {
    let count = out.len();
    assert!(gate.len() == count && up.len() == count);
    let function = device.get_or_load_custom_func("swiglu", "zimaged", PTX)?;
    let mut arguments = function.builder();
    arguments.arg(gate).arg(up).arg(out).arg(&count);
    let blocks = count.div_ceil(CHUNK).div_ceil(THREADS_MAX);
    // SAFETY: the arguments are the kernel's, and it keeps to `count` values.
    unsafe { launch(arguments, [blocks, 1, 1], THREADS_MAX) }
}

/// Count, mean and sum of squared deviations of each part of `part` values of each group: `out`
/// (groups, parts, 3).
pub fn moments(
    device: &CudaDevice,
    x: &Values,
    out: &mut CudaViewMut<f32>,
    groups: usize,
    part: usize,
) -> Result<()> {
    let count = x.len() / groups;
    let parts = count.div_ceil(part);
    assert!(x.len() == groups * count && out.len() == groups * parts * 3);
    let function = device.get_or_load_custom_func("moments", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let part_count = narrow(part)?;
    arguments.arg(x).arg(out).arg(&count).arg(&part_count);
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, [parts, groups, 1], threads(part)) }
}

/// The sizes of one GroupNorm: `groups` are counted over all items.
pub struct GroupNormSizes {
    pub items: usize,
    pub channels: usize,
    pub plane: usize,
    pub groups: usize,
    pub eps: f32,
    pub silu: bool,
}

/// `x` and `out` (items, channels, plane), `moments` (groups, parts, 3), `weight` and `bias`
/// (channels).
pub fn group_norm(
    device: &CudaDevice,
    x: &Values,
    moments: &CudaView<f32>,
    weight: &Values,
    bias: &Values,
    out: &mut ValuesMut,
    norm: &GroupNormSizes,
) -> Result<()> {
    let all_channels = norm.items * norm.channels;
    let members = all_channels / norm.groups;
    let parts = moments.len() / 3 / norm.groups;
    assert!(x.len() == all_channels * norm.plane && out.len() == x.len());
    assert!(weight.len() == norm.channels && bias.len() == norm.channels);
    assert!(moments.len() == 3 * norm.groups * parts && all_channels == norm.groups * members);
    let function = device.get_or_load_custom_func("group_norm", "zimaged", PTX)?;
    let mut arguments = function.builder();
    let [part, channels] = [narrow(NORM_VALUES)?, narrow(norm.channels)?];
    let [members, parts] = [narrow(members)?, narrow(parts)?];
    arguments.arg(x).arg(moments).arg(weight).arg(bias).arg(out).arg(&norm.plane);
    arguments.arg(&part).arg(&channels).arg(&members).arg(&parts).arg(&norm.eps).arg(&norm.silu);
    let blocks = [norm.plane.div_ceil(NORM_VALUES), all_channels, 1];
    // SAFETY: the arguments are the kernel's, and their lengths are asserted.
    unsafe { launch(arguments, blocks, THREADS_MAX) }
}

/// Launches so many blocks of so many threads.
///
/// # Safety
/// The arguments are those that the kernel takes, in their order, and in so many blocks it reads
/// and writes within them only.
pub(super) unsafe fn launch(
    arguments: LaunchArgs,
    blocks: [usize; 3],
    threads: usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { launch_with_memory(arguments, blocks, threads, 0) }
}

/// The same, with so many bytes of shared memory for each block beside what the kernel names.
///
/// # Safety
/// As for [`launch`], and the kernel keeps to these bytes.
pub(super) unsafe fn launch_with_memory(
    mut arguments: LaunchArgs,
    blocks: [usize; 3],
    threads: usize,
    shared_bytes: usize,
) -> Result<()> {
    let [x, y, z] = [narrow(blocks[0])?, narrow(blocks[1])?, narrow(blocks[2])?];
    let config = LaunchConfig {
        grid_dim: (x, y, z),
        block_dim: (narrow(threads)?, 1, 1),
        shared_mem_bytes: narrow(shared_bytes)?,
    };
    // SAFETY: the caller's promise.
    unsafe { arguments.launch(config) }.w()?;
    Ok(())
}

/// Threads for a row of so many values.
fn threads(row: usize) -> usize {
    row.next_multiple_of(WARP).min(THREADS_MAX)
}

/// A size as the kernels take it.
pub(super) fn narrow(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::Msg(format!("{size} is too large for a kernel")))
}
