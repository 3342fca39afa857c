//! Attention in one kernel on compute capability 9.0, that of `attention_hopper.cu`.

use std::mem::MaybeUninit;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DeviceRepr, PushKernelArg, sys};
use candle_core::{CudaDevice, Result};

use super::kernels::{launch_with_memory, narrow};
use super::{Values, ValuesMut, hopper};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/attention_hopper.ptx"));

/// How wide its heads are.
pub(super) const DIM: usize = 128;

/// Queries of a block, its threads, and the memory that it asks for: more than a block has without
/// asking.
const BLOCK_QUERIES: usize = 192;
const BLOCK_THREADS: usize = 512;
const BLOCK_BYTES: usize = 180 << 10;

/// Rows and columns of the tiles that are copied at once.
const TILE_QUERIES: usize = 64;
const TILE_KEYS: usize = 128;
const TILE_COLUMNS: usize = 64;

/// The sizes of one attention.
pub(super) struct Sizes {
    pub b: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub dim: usize,
}

/// `softmax(q k^T * scale) v` for heads of [`DIM`], with lengths that are checked, and log2(e) in
/// `scale`.
pub(super) fn launch_attention(
    device: &CudaDevice,
    [q, k, v]: [&Values; 3],
    out: &mut ValuesMut,
    sizes: &Sizes,
    scale: f32,
) -> Result<()> {
    let Sizes { b, queries, keys, heads, dim } = *sizes;
    assert_eq!(dim, DIM);
    let function = device.get_or_load_custom_func("attention_hopper", "zimaged-hopper", PTX)?;
    hopper::ask_for_memory(&function, BLOCK_BYTES)?;
    // The maps have addresses alone: what is read there is held until the launch.
    let stream = device.cuda_stream();
    let [(q_at, _q), (k_at, _k), (v_at, _v)] = [q, k, v].map(|values| values.device_ptr(&stream));
    let q_map = TensorMap::of(q_at, [b, queries, heads], TILE_QUERIES)?;
    let k_map = TensorMap::of(k_at, [b, keys, heads], TILE_KEYS)?;
    let v_map = TensorMap::of(v_at, [b, keys, heads], TILE_KEYS)?;
    let mut arguments = function.builder();
    let [query_count, key_count] = [narrow(queries)?, narrow(keys)?];
    arguments.arg(&q_map).arg(&k_map).arg(&v_map).arg(out);
    arguments.arg(&query_count).arg(&key_count).arg(&scale);
    let blocks = [queries.div_ceil(BLOCK_QUERIES), heads, b];
    // SAFETY: the arguments are the kernel's, and their lengths are checked.
    unsafe { launch_with_memory(arguments, blocks, BLOCK_THREADS, BLOCK_BYTES) }
}

/// What a tensor looks like to the part of the card that copies tiles of it.
#[repr(transparent)]
struct TensorMap(sys::CUtensorMap);

// SAFETY: it is what a kernel's parameter of this type is, passed by its bytes.
unsafe impl DeviceRepr for TensorMap {}

impl TensorMap {
    /// A contiguous tensor of (b, s, heads, [`DIM`]), in tiles of so many of its rows of one head.
    /// What a tile has outside of it is 0.
    fn of(at: sys::CUdeviceptr, [b, s, heads]: [usize; 3], rows: usize) -> Result<TensorMap> {
        let row_bytes = DIM * size_of::<half::bf16>();
        let sizes = [DIM, heads, s, b].map(|size| size as u64);
        let steps_bytes = [row_bytes, heads * row_bytes, s * heads * row_bytes];
        let tile = [narrow(TILE_COLUMNS)?, 1, narrow(rows)?, 1];
        let mut map = MaybeUninit::uninit();
        // SAFETY: the arrays have as many numbers as the tensor has dimensions, one less for steps.
        // A map may name any address; the kernel reads what the caller holds.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                map.as_mut_ptr(),
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                narrow(sizes.len())?,
                at as *mut _,
                sizes.as_ptr(),
                steps_bytes.map(|bytes| bytes as u64).as_ptr(),
                tile.as_ptr(),
                [1; 4].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
            .result()
            .w()?;
            Ok(TensorMap(map.assume_init()))
        }
    }
}
