//! Matrices kept in blocks of few bits (GGUF's formats), and back. The product is left to dense
//! arithmetic: candle's own quantised product rounds the activations to 8 bits, which overflow in
//! this model.

use candle_core::quantized::k_quants::{BlockQ4_0, BlockQ4K, BlockQ8_0};
use candle_core::quantized::{GgmlDType, GgmlType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu;

/// Values that one parallel task quantises; a multiple of every block's size.
const TASK_VALUES: usize = 64 * 1024;

/// Quantises `matrix` (rows, columns), f32 on the CPU, and puts it on `device`. The columns are a
/// multiple of the format's block size. The work is done on the CPU whatever the device, so that
/// the blocks are the same everywhere.
pub fn quantise(matrix: &Tensor, format: GgmlDType, device: &Device) -> Result<QTensor> {
    let blocks = cpu::with_values(&matrix.contiguous()?, |values| match format {
        GgmlDType::Q8_0 => blocks::<BlockQ8_0>(values, matrix),
        GgmlDType::Q4K => blocks::<BlockQ4K>(values, matrix),
        GgmlDType::Q4_0 => blocks::<BlockQ4_0>(values, matrix),
        other => bail!("weights are not quantised to {other:?}"),
    })?;
    if device.is_cpu() {
        return Ok(blocks);
    }
    QTensor::new(QStorage::from_data(blocks.data()?, device, format)?, matrix.shape())
}

fn blocks<T: GgmlType + 'static>(values: &[f32], matrix: &Tensor) -> Result<QTensor> {
    let mut blocks = vec![T::zeros(); values.len() / T::BLCK_SIZE];
    let tasks =
        blocks.par_chunks_mut(TASK_VALUES / T::BLCK_SIZE).zip(values.par_chunks(TASK_VALUES));
    tasks.for_each(|(blocks, values)| T::from_float(values, blocks));
    QTensor::new(QStorage::Cpu(Box::new(blocks)), matrix.shape())
}

/// The dense (rows, columns) of `matrix` on its device, in `dtype`.
pub fn dequantise(matrix: &QTensor, dtype: DType) -> Result<Tensor> {
    let device = matrix.device();
    if !device.is_cpu() {
        // A weight is far from the ends of f16's range, and has no more digits than it.
        let dense = if dtype == DType::F32 {
            matrix.dequantize(&device)
        } else {
            matrix.dequantize_f16(&device)
        };
        return dense?.to_dtype(dtype);
    }
    let dense = match matrix.dtype() {
        GgmlDType::Q8_0 => values::<BlockQ8_0>(matrix),
        GgmlDType::Q4K => values::<BlockQ4K>(matrix),
        GgmlDType::Q4_0 => values::<BlockQ4_0>(matrix),
        other => bail!("weights are not quantised to {other:?}"),
    };
    dense?.to_dtype(dtype)
}

/// What candle's `dequantize` gives, by all threads and not by one.
fn values<T: GgmlType>(matrix: &QTensor) -> Result<Tensor> {
    let columns = matrix.shape().dims2()?.1;
    let row_blocks = columns / T::BLCK_SIZE;
    let data = matrix.data()?;
    // SAFETY: the bytes are those of a vector of T, which is numbers throughout: any bytes are a
    // valid T.
    let (_, blocks, _) = unsafe { data.align_to::<T>() };
    let dense = cpu::filled_rows(matrix.shape().elem_count(), columns, |row, values| {
        T::to_float(&blocks[row * row_blocks..][..row_blocks], values);
    });
    Tensor::from_vec(dense, matrix.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than one task, and a last one that is not full.
    fn matrix() -> Tensor {
        Tensor::randn(0.0_f32, 0.02, (300, 512), &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn blocks_and_values_are_candles_own() {
        let matrix = matrix();
        for format in [GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q4_0] {
            let ours = quantise(&matrix, format, &Device::Cpu).unwrap();
            let candles = QTensor::quantize(&matrix, format).unwrap();
            assert_eq!(ours.data().unwrap(), candles.data().unwrap(), "{format:?}");
            let values = dequantise(&ours, DType::F32).unwrap();
            assert_eq!(
                flat(&values),
                flat(&candles.dequantize(&Device::Cpu).unwrap()),
                "{format:?}"
            );
        }
    }

    #[test]
    fn a_view_into_a_larger_matrix_is_quantised_as_itself() {
        let matrix = matrix();
        let view = matrix.narrow(0, 100, 7).unwrap();
        let ours = quantise(&view, GgmlDType::Q8_0, &Device::Cpu).unwrap();
        let whole =
            dequantise(&quantise(&matrix, GgmlDType::Q8_0, &Device::Cpu).unwrap(), DType::F32)
                .unwrap();
        assert_eq!(
            flat(&dequantise(&ours, DType::F32).unwrap()),
            flat(&whole.narrow(0, 100, 7).unwrap())
        );
    }

    #[test]
    fn formats_of_other_programs_are_refused() {
        let error = quantise(&matrix(), GgmlDType::Q2K, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("not quantised to Q2K"), "{error}");
    }
}
