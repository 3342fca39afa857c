//! The operators on a card: bf16 through kernels, a `.cu` file for each family of them. What an
//! operator means is said where it is offered, in [`super`]; here each takes its arguments as
//! candle's traits for custom operators hand them over, or as tensors where it has several results.

mod attention;
mod attention_hopper;
mod blocks;
mod conv;
mod elements;
mod groups;
mod hopper;
mod int8;
mod kernels;
mod rows;

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, DeviceRepr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, Storage, Tensor, bail};
use half::bf16;

pub(super) use self::attention::attention;
pub(super) use self::blocks::{Softmax, Transpose};
pub(super) use self::conv::conv2d;
pub(super) use self::elements::{rope, swiglu};
pub(super) use self::groups::{Normalising, group_norm, moments};
pub(super) use self::int8::{int8_product, int8_rows};
pub(super) use self::rows::{add_norm, add_norm_and_norm, layer_norm, norm_rope, rms_norm};

/// An argument of an operator.
pub(super) type Operand<'a> = (&'a CudaStorage, &'a Layout);

type Values<'a> = CudaView<'a, bf16>;
type ValuesMut<'a> = CudaViewMut<'a, bf16>;

/// The operand's values, which must be contiguous and of type `T`.
fn values<'a, T: CudaDType>((storage, layout): Operand<'a>) -> Result<CudaView<'a, T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel was given strided values")
    };
    Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
}

/// How many neighbouring values kernels move at once, from multiples of so many on.
const CHUNK: usize = 8;

/// Whether the operand begins where a kernel can move a chunk at once.
fn is_aligned((_, layout): Operand) -> bool {
    layout.start_offset().is_multiple_of(CHUNK)
}

/// The operand's values, where a kernel moves chunks of them.
fn chunks(operand: Operand) -> Result<Values> {
    if !is_aligned(operand) {
        bail!("a kernel was given values that are not aligned");
    }
    values(operand)
}

/// What `run` makes of tensors on a card.
fn with_operands<const N: usize, R>(
    tensors: [&Tensor; N],
    run: impl FnOnce([Operand; N]) -> Result<R>,
) -> Result<R> {
    let held = tensors.map(Tensor::storage_and_layout);
    let mut operands = Vec::with_capacity(N);
    for (storage, layout) in &held {
        let Storage::Cuda(storage) = &**storage else { bail!("a kernel's tensors are on a card") };
        operands.push((storage, *layout));
    }
    run(std::array::from_fn(|n| operands[n]))
}

/// An operator's two results of `shape`, all of which `fill` writes.
fn two_outputs(
    device: &CudaDevice,
    shape: &Shape,
    fill: impl FnOnce([ValuesMut; 2]) -> Result<()>,
) -> Result<[Tensor; 2]> {
    // SAFETY: `fill` writes all values before anyone reads one.
    let [mut first, mut second] =
        unsafe { [device.alloc::<bf16>(shape.elem_count())?, device.alloc(shape.elem_count())?] };
    fill([first.as_view_mut(), second.as_view_mut()])?;
    Ok([first, second].map(|values| {
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(values, device.clone()));
        Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), false)
    }))
}

/// An operator's result of `shape`, all of which `fill` writes.
fn output<T: CudaDType + DeviceRepr>(
    device: &CudaDevice,
    shape: impl Into<Shape>,
    fill: impl FnOnce(CudaViewMut<T>) -> Result<()>,
) -> Result<(CudaStorage, Shape)> {
    let shape = shape.into();
    // SAFETY: `fill` writes all values before anyone reads one.
    let mut out = unsafe { device.alloc::<T>(shape.elem_count())? };
    fill(out.as_view_mut())?;
    Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), shape))
}

#[cfg(test)]
mod tests {
    use candle_core::cuda_backend::kernels::AFFINE;

    fn target(ptx: &str) -> Option<&str> {
        ptx.lines().find_map(|line| line.strip_prefix(".target sm_"))
    }

    /// The compute capability without the letter that newer ones get by themselves.
    fn capability(ptx: &str) -> Option<&str> {
        target(ptx).map(|target| target.trim_end_matches(char::is_alphabetic))
    }

    #[test]
    fn kernels_are_for_all_cards_from_the_capability_on_that_was_asked_for() {
        let asked = option_env!("CUDA_COMPUTE_CAP").unwrap_or("80");
        let ours = [
            super::kernels::PTX,
            super::attention::PTX,
            super::conv::PTX,
            super::groups::PTX,
            super::int8::ROWS_PTX,
            super::int8::PRODUCT_PTX,
            super::rows::PTX,
        ];
        for ptx in ours.into_iter().chain([AFFINE.ptx()]) {
            assert_eq!(capability(ptx), Some(asked), "{}", &ptx[..ptx.len().min(400)]);
        }
    }

    #[test]
    fn what_one_capability_alone_has_is_for_that_one_whatever_was_asked_for() {
        for ptx in [super::attention_hopper::PTX, super::conv::HOPPER_PTX] {
            assert_eq!(target(ptx), Some("90a"));
        }
    }
}
