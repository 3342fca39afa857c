//! Attention in one kernel: that of `attention.cu`, or a card's own.

use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaDevice, CudaStorage, Result, Shape, bail};

use super::attention_hopper::{self, Sizes};
use super::kernels::{launch, narrow};
use super::{Operand, Values, ValuesMut, chunks, hopper, output};

pub(super) const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/attention.ptx"));

/// Queries of a block, and its threads.
const BLOCK_QUERIES: usize = 128;
const BLOCK_THREADS: usize = 256;

/// `softmax(q k^T * scale) v` for each head: `q` (b, queries, heads, head_dim), `k` and `v` (b,
/// keys, heads, head_dim).
pub fn attention([q, k, v]: [Operand; 3], scale: f32) -> Result<(CudaStorage, Shape)> {
    let (b, queries, heads, dim) = q.1.shape().dims4()?;
    let (_, keys, _, _) = k.1.shape().dims4()?;
    let sizes = Sizes { b, queries, keys, heads, dim };
    let (qs, ks, vs) = (chunks(q)?, chunks(k)?, chunks(v)?);
    // The kernels compare scores before they are scaled.
    assert!(keys > 0 && scale > 0.0);
    assert!(qs.len() == b * queries * heads * dim);
    assert!(ks.len() == b * keys * heads * dim && vs.len() == ks.len());
    let device = &q.0.device;
    let is_hopper = dim == attention_hopper::DIM && hopper::is_for(device)?;
    let launch = if is_hopper { attention_hopper::launch_attention } else { launch_attention };
    let scale = scale * std::f32::consts::LOG2_E;
    output(device, q.1.shape(), |mut out| launch(device, [&qs, &ks, &vs], &mut out, &sizes, scale))
}

/// As [`attention`], with lengths that are checked, and log2(e) in `scale`.
fn launch_attention(
    device: &CudaDevice,
    [q, k, v]: [&Values; 3],
    out: &mut ValuesMut,
    sizes: &Sizes,
    scale: f32,
) -> Result<()> {
    let Sizes { b, queries, keys, heads, dim } = *sizes;
    let kernel = match dim {
        32 => "attention_32",
        128 => "attention_128",
        _ => bail!("there is no attention for heads of width {dim}"),
    };
    let function = device.get_or_load_custom_func(kernel, "zimaged-attention", PTX)?;
    let mut arguments = function.builder();
    let [query_count, key_count] = [narrow(queries)?, narrow(keys)?];
    arguments.arg(q).arg(k).arg(v).arg(out).arg(&query_count).arg(&key_count).arg(&scale);
    // SAFETY: the arguments are the kernel's, and their lengths are checked.
    unsafe { launch(arguments, [queries.div_ceil(BLOCK_QUERIES), heads, b], BLOCK_THREADS) }
}

#[cfg(test)]
mod operators_on_a_card {
    use candle_core::{DType, Result, Tensor};

    use crate::engine::z_image::ops::attention;
    use crate::engine::z_image::ops::check::{first_card, relative_error, values};

    /// Weights are rounded to bf16, and results again.
    const ROUNDING: f64 = 1.0 / 256.0;

    struct Shape {
        b: usize,
        queries: usize,
        keys: usize,
        heads: usize,
        dim: usize,
    }

    /// Values that bf16 can hold, so that nothing but the arithmetic differs.
    fn rounded(shape: [usize; 4], seed: u64, scale: f64) -> Tensor {
        let values = (values(&shape, seed) * scale).expect("a product");
        values.to_dtype(DType::BF16).and_then(|x| x.to_dtype(DType::F32)).expect("f32 narrows")
    }

    fn assert_right(Shape { b, queries, keys, heads, dim }: Shape) {
        let q = rounded([b, queries, heads, dim], 1, 6.0);
        let k = rounded([b, keys, heads, dim], 2, 1.0);
        let v = rounded([b, keys, heads, dim], 3, 1.0);
        let card = first_card::open();
        let narrow = |x: &Tensor| x.to_dtype(DType::BF16)?.to_device(&card);
        let attend = |q: Tensor, k: Tensor, v: Tensor| attention(q, k, v, 0.3, false);
        let on_card = || -> Result<Tensor> { attend(narrow(&q)?, narrow(&k)?, narrow(&v)?) };
        let ours = on_card().expect("a card attends");
        let right = attend(q.clone(), k.clone(), v.clone()).expect("a processor attends");
        let error = relative_error(&ours, &right);
        let sizes = format!("{b} x {queries} x {keys} x {heads} x {dim}");
        assert!(error < ROUNDING, "{sizes}: off by {error:e} of the largest value");
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn any_number_of_queries_and_keys_is_attended_to() {
        for dim in [32, 128] {
            for (queries, keys) in [(1, 1), (1, 65), (33, 33), (127, 64), (129, 127), (257, 191)] {
                assert_right(Shape { b: 2, queries, keys, heads: 3, dim });
            }
        }
    }

    #[test]
    #[ignore = "needs a card: see tools/gpu/simulator"]
    fn a_large_picture_is_attended_to() {
        assert_right(Shape { b: 1, queries: 300, keys: 4711, heads: 1, dim: 128 });
        assert_right(Shape { b: 1, queries: 4711, keys: 300, heads: 1, dim: 128 });
    }
}
