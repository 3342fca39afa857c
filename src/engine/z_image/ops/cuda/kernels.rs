//! The kernels of `kernels.cu`: one function for each, with its arguments in their order and their
//! widths. Each asserts that the lengths of its arguments are what the kernel reads and writes.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaView, LaunchArgs, LaunchConfig, PushKernelArg,
};
use candle_core::{CudaDevice, Error, Result};

use super::{CHUNK, Values, ValuesMut};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Threads of a block: whole warps, and at most so many.
pub(super) const WARP: usize = 32;
const THREADS_MAX: usize = 256;

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
