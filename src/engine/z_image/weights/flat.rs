//! A layer's tensors, one after the other in one tensor, so that one copy brings them all to a
//! device.

use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor, bail};

use super::Weights;
use super::source::Source;
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
}

impl Weights {
    /// Whether layers can be copied to a card from host memory as they are: they must be dense and
    /// from files.
    pub fn is_streamable(&self) -> bool {
        self.device.is_cuda()
            && self.precision == Precision::Full
            && matches!(&*self.source, Source::Files { .. })
    }

    /// How the tensors under this prefix are put into one.
    pub fn flat_layout(&self) -> FlatLayout {
        let mut count = 0;
        let place = |(name, shape): (String, Shape)| {
            let offset = count;
            count += shape.elem_count().next_multiple_of(FLAT_ALIGNMENT);
            FlatTensor { name, shape, offset }
        };
        let tensors = self.shapes().into_iter().map(place).collect();
        FlatLayout { tensors, count }
    }

    /// The same names, but as views into the flat tensor `values`.
    pub fn in_flat(&self, values: &Tensor, layout: &FlatLayout) -> Weights {
        let source = Source::Flat { values: values.clone(), layout: layout.clone() };
        Weights { source: Arc::new(source), prefix: String::new(), ..self.clone() }
    }

    /// The tensor `name` in host memory, in the type that the part computes in.
    pub fn on_host(&self, name: &str, shape: &Shape) -> Result<Tensor> {
        let name = self.full_name(name);
        self.source.load(&name, shape, self.dtype, &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{files, values};
    use super::*;

    #[test]
    fn a_layer_put_into_one_tensor_reads_as_from_its_files() {
        let (_folder, weights) = files();
        let layout = weights.prefixed(0).flat_layout();
        assert_eq!((layout.count, layout.tensors.len()), (2 * FLAT_ALIGNMENT, 2));
        let mut all = vec![0.0_f32; layout.count];
        for FlatTensor { name, shape, offset } in &layout.tensors {
            let host = values(&weights.prefixed(1).on_host(name, shape).unwrap());
            all[*offset..][..host.len()].copy_from_slice(&host);
        }
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
