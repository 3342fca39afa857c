//! Tensors written in fewer bits, by plain code that shares nothing with what reads them.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use float8::{F8E4M3, F8E5M2};
use safetensors::tensor::{Dtype, TensorView};

use super::rename::Named;

/// How the matrices of blocks are written.
#[derive(Clone, Copy, Debug)]
pub enum Numbers {
    AsTheyAre,
    /// All tensors.
    Bf16,
    /// All tensors, as f32 with the values that bf16 leaves.
    RoundedToBf16,
    F8 {
        scale: Fp8Scale,
    },
    F8E5M2,
    Int8 {
        /// In groups of so many inputs.
        rotated: Option<usize>,
    },
}

/// How the scales of fp8 files are spelt.
#[derive(Clone, Copy, Debug)]
pub enum Fp8Scale {
    None,
    /// `scale_weight`, and `scaled_fp8` for all.
    Old,
    /// `weight_scale` and `comfy_quant`.
    New,
    /// `weight_scale`, and formats in the header.
    InMetadata,
    /// `weight_scale_inv`, for squares.
    Squares,
}

/// Formats of GGUF whose blocks fill the reference's rows, and how far they may be off.
pub const GGUF_BOUNDS: [(GgmlDType, f64); 3] =
    [(GgmlDType::Q8_0, 0.025), (GgmlDType::Q5_0, 0.2), (GgmlDType::Q4_0, 0.4)];

/// Side of the squares of a scale each: the reference's matrices have 96 to 512 rows.
const SQUARE: usize = 32;

/// A tensor as a file has it.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Written {
    fn floats(shape: &[usize], values: &[f32]) -> Written {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Written { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    fn text(text: &str) -> Written {
        Written { dtype: Dtype::U8, shape: vec![text.len()], bytes: text.as_bytes().to_vec() }
    }
}

/// Writes a safetensors file.
pub fn write_safetensors(path: &Path, named: &Named, numbers: Numbers) {
    let (mut tensors, mut formats) = (Vec::new(), Vec::new());
    for (name, tensor) in named {
        match name.strip_suffix(".weight").filter(|layer| is_block_matrix(layer)) {
            Some(layer) => low(layer, tensor, numbers, &mut tensors, &mut formats),
            None => tensors.push((name.clone(), plain(tensor, numbers))),
        }
    }
    if matches!(numbers, Numbers::F8 { scale: Fp8Scale::Old }) {
        let mark = Written { dtype: Dtype::F8_E4M3, shape: vec![0], bytes: Vec::new() };
        tensors.push(("scaled_fp8".into(), mark));
    }
    let views = tensors.iter().map(|(name, Written { dtype, shape, bytes })| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = (!formats.is_empty()).then(|| {
        let layers = format!(r#"{{"layers": {{{}}}}}"#, formats.join(", "));
        HashMap::from([("_quantization_metadata".to_owned(), layers)])
    });
    safetensors::serialize_to_file(views, metadata, path).unwrap();
}

fn is_block_matrix(layer: &str) -> bool {
    [".attention.qkv", ".attention.out", ".feed_forward.w"].iter().any(|part| layer.contains(part))
}

fn plain(tensor: &Tensor, numbers: Numbers) -> Written {
    let stored = match numbers {
        Numbers::Bf16 => tensor.to_dtype(DType::BF16),
        Numbers::RoundedToBf16 => {
            tensor.to_dtype(DType::BF16).and_then(|tensor| tensor.to_dtype(DType::F32))
        }
        _ => Ok(tensor.clone()),
    };
    let stored = stored.unwrap();
    let flat = stored.flatten_all().unwrap();
    let shape = tensor.dims();
    if stored.dtype() == DType::F32 {
        return Written::floats(shape, &flat.to_vec1().unwrap());
    }
    assert_eq!(stored.dtype(), DType::BF16);
    let values: Vec<half::bf16> = flat.to_vec1().unwrap();
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Written { dtype: Dtype::BF16, shape: shape.to_vec(), bytes }
}

/// A matrix of a block, with what stands beside it.
fn low(
    layer: &str,
    tensor: &Tensor,
    numbers: Numbers,
    tensors: &mut Vec<(String, Written)>,
    formats: &mut Vec<String>,
) {
    let (rows, columns) = tensor.dims2().unwrap();
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let mut push = |end: &str, written| tensors.push((format!("{layer}{end}"), written));
    let shape = [rows, columns];
    match numbers {
        Numbers::F8 { scale } => {
            let side = if matches!(scale, Fp8Scale::Squares) { SQUARE } else { usize::MAX };
            let (scales, scale_shape) = match scale {
                Fp8Scale::None => (vec![1.0], vec![1, 1]),
                _ => scales(&values, shape, side),
            };
            let scale_of = |index: usize| {
                scales[index / columns / side * scale_shape[1] + index % columns / side]
            };
            let encode =
                |(index, value): (usize, &f32)| F8E4M3::from_f32(value / scale_of(index)).to_bits();
            let bytes = values.iter().enumerate().map(encode).collect();
            push(".weight", Written { dtype: Dtype::F8_E4M3, shape: shape.to_vec(), bytes });
            match scale {
                Fp8Scale::None => {}
                Fp8Scale::Old => push(".scale_weight", Written::floats(&[1], &scales)),
                Fp8Scale::New => {
                    push(".weight_scale", Written::floats(&[], &scales));
                    push(".comfy_quant", Written::text(r#"{"format": "float8_e4m3fn"}"#));
                }
                Fp8Scale::InMetadata => {
                    push(".weight_scale", Written::floats(&[], &scales));
                    formats.push(format!(r#""{layer}": {{"format": "float8_e4m3fn"}}"#));
                }
                Fp8Scale::Squares => {
                    push(".weight_scale_inv", Written::floats(&scale_shape, &scales));
                }
            }
        }
        Numbers::F8E5M2 => {
            let bytes = values.iter().map(|&value| F8E5M2::from_f32(value).to_bits()).collect();
            push(".weight", Written { dtype: Dtype::F8_E5M2, shape: shape.to_vec(), bytes });
        }
        Numbers::Int8 { rotated } => {
            let values = match rotated {
                Some(group) => rotate(tensor, group),
                None => values,
            };
            let scales: Vec<f32> = values.chunks(columns).map(|row| most(row) / 127.0).collect();
            let encode = |(index, value): (usize, &f32)| {
                ((value / scales[index / columns]).round() as i8).cast_unsigned()
            };
            let bytes = values.iter().enumerate().map(encode).collect();
            push(".weight", Written { dtype: Dtype::I8, shape: shape.to_vec(), bytes });
            push(".weight_scale", Written::floats(&[rows, 1], &scales));
            let mark = match rotated {
                Some(group) => format!(
                    r#"{{"format": "int8_tensorwise", "params": {{"convrot": true, "convrot_groupsize": {group}}}}}"#
                ),
                None => r#"{"format": "int8_tensorwise"}"#.to_owned(),
            };
            push(".comfy_quant", Written::text(&mark));
        }
        Numbers::AsTheyAre | Numbers::Bf16 | Numbers::RoundedToBf16 => {
            push(".weight", plain(tensor, numbers));
        }
    }
}

fn most(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| f32::max(most, value.abs()))
}

/// The scale of each square, so that its largest value is fp8's largest, 448; and their shape.
fn scales(values: &[f32], [rows, columns]: [usize; 2], side: usize) -> (Vec<f32>, Vec<usize>) {
    let [down, across] = [rows, columns].map(|length| length.div_ceil(side));
    let mut most = vec![0.0_f32; down * across];
    for (index, value) in values.iter().enumerate() {
        let square = index / columns / side * across + index % columns / side;
        most[square] = most[square].max(value.abs());
    }
    (most.iter().map(|most| most / 448.0).collect(), vec![down, across])
}

/// Each row's groups of inputs multiplied by the rotation, which is built as a whole matrix here.
fn rotate(tensor: &Tensor, group: usize) -> Vec<f32> {
    let four = [
        [1.0, 1.0, 1.0, -1.0],
        [1.0, 1.0, -1.0, 1.0],
        [1.0, -1.0, 1.0, 1.0],
        [-1.0, 1.0, 1.0, 1.0_f32],
    ];
    let entry = |mut row: usize, mut column: usize| {
        let (mut entry, mut side) = (1.0, 1);
        while side < group {
            entry *= four[row % 4][column % 4] / 2.0;
            (row, column, side) = (row / 4, column / 4, side * 4);
        }
        entry
    };
    let matrix: Vec<f32> =
        (0..group).flat_map(|row| (0..group).map(move |column| entry(row, column))).collect();
    let matrix = Tensor::from_vec(matrix, (group, group), &Device::Cpu).unwrap();
    let groups = tensor.reshape(((), group)).unwrap();
    groups.matmul(&matrix).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Writes a GGUF file as the usual converters do: vectors and small tensors stay F32, without their
/// leading ones; matrices have `format` where their rows are whole blocks of it.
pub fn write_gguf(path: &Path, named: &Named, architecture: &str, format: Option<GgmlDType>) {
    let quantised = |tensor: &Tensor| {
        let tensor = tensor.to_dtype(DType::F32).unwrap();
        let tensor = match tensor.dims() {
            [1, length] => tensor.reshape(*length).unwrap(),
            _ => tensor,
        };
        let fits = |format: &GgmlDType| match tensor.dims() {
            [_, columns] => columns.is_multiple_of(format.block_size()),
            _ => false,
        };
        let format = format.filter(fits).unwrap_or(GgmlDType::F32);
        QTensor::quantize(&tensor, format).unwrap()
    };
    let tensors: Vec<(&str, QTensor)> =
        named.iter().map(|(name, tensor)| (name.as_str(), quantised(tensor))).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let architecture = Value::String(architecture.to_owned());
    let version = Value::U32(2);
    let theta = Value::F32(1e6);
    let metadata = [
        ("general.architecture", &architecture),
        ("general.quantization_version", &version),
        ("qwen3.rope.freq_base", &theta),
    ];
    let mut file = BufWriter::new(File::create(path).unwrap());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}
