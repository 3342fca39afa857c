//! The operators on a card: bf16 through the kernels of `kernels.cu` and `attention.cu`. What an operator means is
//! said where it is offered, in [`super`]; here each takes its arguments as candle's traits for
//! custom operators hand them over.

mod attention;
mod conv;
mod elements;
mod groups;
mod kernels;
mod rows;

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, DeviceRepr};
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, bail};
use half::bf16;

pub(super) use self::attention::attention;
pub(super) use self::conv::conv2d;
pub(super) use self::elements::{Transpose, gated_add, modulate, rope, swiglu, upsample};
pub(super) use self::groups::{group_norm, group_norm_of_part, moments};
pub(super) use self::rows::{Softmax, layer_norm, rms_norm};

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

    /// The compute capability without the letter that newer ones get by themselves.
    fn target(ptx: &str) -> Option<&str> {
        let target = ptx.lines().find_map(|line| line.strip_prefix(".target sm_"))?;
        Some(target.trim_end_matches(char::is_alphabetic))
    }

    #[test]
    fn kernels_are_for_all_cards_from_the_capability_on_that_was_asked_for() {
        let asked = option_env!("CUDA_COMPUTE_CAP").unwrap_or("80");
        for ptx in [super::kernels::PTX, super::attention::PTX, AFFINE.ptx()] {
            assert_eq!(target(ptx), Some(asked), "{}", &ptx[..ptx.len().min(400)]);
        }
    }
}
