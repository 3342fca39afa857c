//! A layer's tensors, one after the other in one tensor, so that one copy brings them all to a
//! device.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor, bail};
use half::bf16;

use super::source::Source;
use super::{StreamHandle, Weights};
use crate::engine::z_image::checkpoint::StoredTensor;
use crate::engine::z_image::ops::{self, Int8Rows};
use crate::engine::z_image::quant::{self, MatrixFormat};
use crate::ladder::Precision;

/// How all tensors under a prefix lie in one flat tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatLayout {
    pub tensors: Vec<FlatTensor>,
    /// Values of the flat tensor.
    pub count: usize,
}

/// The place of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatTensor {
    pub name: String,
    pub shape: Shape,
    /// The index of its first value.
    pub offset: usize,
    /// A matrix in rotated rows of 8 bits, of which two take the place of one value.
    is_int8: bool,
}

impl FlatTensor {
    /// How many values of the flat tensor it takes.
    fn length(&self) -> usize {
        match (self.is_int8, self.shape.dims()) {
            (true, &[rows, columns]) => Int8Rows::length(rows, columns),
            _ => self.shape.elem_count(),
        }
    }
}

/// Tensors begin at multiples of so many values, because matrix products on a card want their
/// operands aligned.
const FLAT_ALIGNMENT: usize = 128;

impl FlatLayout {
    /// The tensor `name` in the flat tensor `values`.
    pub(super) fn view(&self, values: &Tensor, name: &str, shape: &Shape) -> Result<Tensor> {
        match self.tensors.iter().find(|tensor| tensor.name == name && tensor.shape == *shape) {
            Some(tensor) => values.narrow(0, tensor.offset, shape.elem_count())?.reshape(shape),
            None => bail!("{name} {shape:?} is not in the layout"),
        }
    }

    /// The matrix `name` in the flat tensor `values`, where it is in rows of 8 bits.
    pub(super) fn int8_bits(&self, values: &Tensor, name: &str) -> Result<Option<Tensor>> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name && tensor.is_int8);
        tensor.map(|tensor| values.narrow(0, tensor.offset, tensor.length())).transpose()
    }

    /// Whether all of it is in the type of the flat tensor.
    pub fn is_dense(&self) -> bool {
        !self.tensors.iter().any(|tensor| tensor.is_int8)
    }
}

impl Weights {
    /// Whether layers can be copied to a card from host memory as they are used there: dense or in
    /// rows of 8 bits, and from files.
    pub fn is_streamable(&self) -> bool {
        self.device.is_cuda()
            && matches!(self.precision, Precision::Full | Precision::Int8)
            && matches!(&*self.source, Source::Files { .. })
    }

    /// How the tensors under this prefix are put into one.
    pub fn flat_layout(&self) -> FlatLayout {
        let mut count = 0;
        let place = |(name, shape): (String, Shape)| {
            let columns = shape.dims().get(1).copied().unwrap_or_default();
            let format = quant::format(self.precision, &self.full_name(&name), columns);
            let is_int8 = format == Some(MatrixFormat::Int8);
            let tensor = FlatTensor { name, shape, offset: count, is_int8 };
            count += tensor.length().next_multiple_of(FLAT_ALIGNMENT);
            tensor
        };
        let tensors = self.shapes().into_iter().map(place).collect();
        FlatLayout { tensors, count }
    }

    /// The same names, but as views into the flat tensor `values`.
    pub fn in_flat(&self, values: &Tensor, layout: &FlatLayout) -> Weights {
        let source = Source::Flat { values: values.clone(), layout: layout.clone() };
        Weights { source: Arc::new(source), prefix: String::new(), ..self.clone() }
    }

    /// Reads all tensors of the layout into `all`, each into its place.
    pub fn read_flat(&self, layout: &FlatLayout, all: &mut [bf16]) -> Result<()> {
        layout.tensors.iter().try_for_each(|tensor| {
            let stored = self.in_file(&tensor.name, &tensor.shape)?;
            let out = &mut all[tensor.offset..][..tensor.length()];
            match (tensor.is_int8, tensor.shape.dims()) {
                (true, &[rows, columns]) => {
                    let read = |row, out: &mut [f32]| stored.decode_rows(row, out);
                    ops::int8_quantise(out, [rows, columns], read)
                }
                _ => stored.read_bf16(0, out),
            }
        })
    }

    /// Begins to copy all tensors of the layout, which is dense, each to its place in the flat
    /// tensor `all`, in the stream `copies`.
    pub fn carry_flat(
        &self,
        layout: &FlatLayout,
        all: &Tensor,
        copies: StreamHandle,
    ) -> Result<()> {
        let Some(carrier) = &self.carrier else { bail!("nothing brings weights to this device") };
        layout.tensors.iter().try_for_each(|FlatTensor { name, shape, offset, .. }| {
            let place = all.narrow(0, *offset, shape.elem_count())?;
            carrier.carry(self.in_file(name, shape)?, &place, Some(copies))
        })
    }

    fn in_file(&self, name: &str, shape: &Shape) -> Result<&StoredTensor> {
        let name = self.full_name(name);
        match self.source.stored(&name, shape) {
            Some(tensor) => Ok(tensor),
            None => bail!("{name} {shape:?} is in no file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{files, values};
    use super::*;

    #[test]
    fn a_layer_put_into_one_tensor_reads_as_from_its_files() {
        let (_folder, weights) = files();
        let layout = weights.prefixed(0).flat_layout();
        assert_eq!((layout.count, layout.tensors.len()), (2 * FLAT_ALIGNMENT, 2));
        let mut all = vec![bf16::ZERO; layout.count];
        weights.prefixed(1).read_flat(&layout, &mut all).unwrap();
        let all: Vec<f32> = all.into_iter().map(bf16::to_f32).collect();
        let flat = weights.in_flat(&Tensor::new(all, &Device::Cpu).unwrap(), &layout);
        let filed = weights.prefixed(1);
        assert_eq!(values(&flat.get("norm", 7).unwrap()), values(&filed.get("norm", 7).unwrap()));
        assert_eq!(
            values(&flat.get("w.weight", (3, 5)).unwrap()),
            values(&filed.get("w.weight", (3, 5)).unwrap())
        );
        assert!(flat.get("w.weight", (5, 3)).is_err());
    }
}
