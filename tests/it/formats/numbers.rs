//! Tensors written in fewer bits, by plain code that shares nothing with what reads them.

use std::collections::HashMap;
use std::path::Path;

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
    /// All tensors, norms and biases too, as a plain cast leaves them.
    AllF8,
    Int8 {
        /// In groups of so many inputs.
        rotated: Option<usize>,
        /// Where the file says so.
        mark: Int8Mark,
    },
    /// With one scale for a whole matrix.
    Int8Scalar,
}

/// Where a file of int8 says how its layers are written.
#[derive(Clone, Copy, Debug)]
pub enum Int8Mark {
    /// `comfy_quant` beside each.
    Beside,
    /// In the header, by names without the prefix that the tensors have.
    InMetadata,
    /// There, too, with the format's word alone in place of an object.
    Word,
}

/// What ComfyUI's names of the transformer may begin with.
const PREFIX: &str = "model.diffusion_model.";

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
    /// `weight_scale` for each row: (rows, 1).
    Rows,
}

/// Side of the squares of a scale each: the reference's matrices have 96 to 512 rows.
const SQUARE: usize = 32;

/// A tensor as a file has it.
#[derive(Clone)]
pub struct Written {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Written {
    pub fn floats(shape: &[usize], values: &[f32]) -> Written {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Written { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }

    pub fn text(text: &str) -> Written {
        Written { dtype: Dtype::U8, shape: vec![text.len()], bytes: text.as_bytes().to_vec() }
    }
}

/// Writes a safetensors file in which the matrices of the transformer's blocks have `numbers`.
pub fn write_safetensors(path: &Path, named: &Named, numbers: Numbers) {
    write_low(path, named, numbers, is_block_matrix);
}

/// Writes one in which the layers that `is_low` picks have them.
pub fn write_low(path: &Path, named: &Named, numbers: Numbers, is_low: impl Fn(&str) -> bool) {
    let (mut tensors, mut formats) = (Vec::new(), Vec::new());
    for (name, tensor) in named {
        match name.strip_suffix(".weight").filter(|layer| is_low(layer)) {
            Some(layer) => low(layer, tensor, numbers, &mut tensors, &mut formats),
            None => tensors.push((name.clone(), plain(tensor, numbers))),
        }
    }
    if matches!(numbers, Numbers::F8 { scale: Fp8Scale::Old }) {
        let mark = Written { dtype: Dtype::F8_E4M3, shape: vec![0], bytes: Vec::new() };
        let is_prefixed = named.keys().any(|name| name.starts_with(PREFIX));
        let prefix = if is_prefixed { PREFIX } else { "" };
        tensors.push((format!("{prefix}scaled_fp8"), mark));
    }
    write_tensors(path, &tensors, &formats);
}

/// Writes a safetensors file of `named`, with `odd` tensors in the place of those of the same name.
pub fn write_odd(path: &Path, named: &Named, odd: Vec<(String, Written)>) {
    let is_odd = |name: &String| odd.iter().any(|(other, _)| other == name);
    let kept = named.iter().filter(|(name, _)| !is_odd(name));
    let mut tensors: Vec<(String, Written)> =
        kept.map(|(name, tensor)| (name.clone(), plain(tensor, Numbers::AsTheyAre))).collect();
    tensors.extend(odd);
    write_tensors(path, &tensors, &[]);
}

fn write_tensors(path: &Path, tensors: &[(String, Written)], formats: &[String]) {
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

/// Those of the text encoder.
pub fn is_encoder_matrix(layer: &str) -> bool {
    layer.ends_with("_proj")
}

/// Half of those of the text encoder: that of Comfy-Org/z_image_turbo is mixed so.
pub fn is_mixed_encoder_matrix(layer: &str) -> bool {
    is_encoder_matrix(layer) && layer.contains(".mlp.")
}

/// Those of all parts in one file.
pub fn is_any_block_matrix(layer: &str) -> bool {
    is_block_matrix(layer) || is_encoder_matrix(layer)
}

fn plain(tensor: &Tensor, numbers: Numbers) -> Written {
    if matches!(numbers, Numbers::AllF8) {
        let floats = tensor.to_dtype(DType::F32).unwrap();
        let values: Vec<f32> = floats.flatten_all().unwrap().to_vec1().unwrap();
        let bytes = values.iter().map(|&value| F8E4M3::from_f32(value).to_bits()).collect();
        return Written { dtype: Dtype::F8_E4M3, shape: tensor.dims().to_vec(), bytes };
    }
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
    let floats = tensor.to_dtype(DType::F32).unwrap();
    let values: Vec<f32> = floats.flatten_all().unwrap().to_vec1().unwrap();
    let mut push = |end: &str, written| tensors.push((format!("{layer}{end}"), written));
    let shape = [rows, columns];
    match numbers {
        Numbers::F8 { scale } => {
            let (scales, scale_shape, side) = match scale {
                Fp8Scale::None => (vec![1.0], vec![1, 1], [usize::MAX; 2]),
                Fp8Scale::Squares => scales(&values, shape, [SQUARE; 2]),
                Fp8Scale::Rows => scales(&values, shape, [1, usize::MAX]),
                _ => scales(&values, shape, [usize::MAX; 2]),
            };
            let scale_of = |index: usize| {
                scales[index / columns / side[0] * scale_shape[1] + index % columns / side[1]]
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
                Fp8Scale::Rows => push(".weight_scale", Written::floats(&scale_shape, &scales)),
            }
        }
        Numbers::F8E5M2 => {
            let bytes = values.iter().map(|&value| F8E5M2::from_f32(value).to_bits()).collect();
            push(".weight", Written { dtype: Dtype::F8_E5M2, shape: shape.to_vec(), bytes });
        }
        Numbers::Int8 { rotated, mark } => {
            let values = match rotated {
                Some(group) => rotate(tensor, group),
                None => values,
            };
            let scales: Vec<f32> = values.chunks(columns).map(|row| most(row) / 127.0).collect();
            push(".weight", integers(shape, &values, |index| scales[index / columns]));
            push(".weight_scale", Written::floats(&[rows, 1], &scales));
            let params = rotated.map_or(String::new(), |group| {
                format!(r#", "params": {{"convrot": true, "convrot_groupsize": {group}}}"#)
            });
            let told = format!(r#"{{"format": "int8_tensorwise"{params}}}"#);
            let name = layer.strip_prefix(PREFIX).unwrap_or(layer);
            match mark {
                Int8Mark::Beside => push(".comfy_quant", Written::text(&told)),
                Int8Mark::InMetadata => formats.push(format!(r#""{name}": {told}"#)),
                Int8Mark::Word => formats.push(format!(r#""{name}": "int8_tensorwise""#)),
            }
        }
        Numbers::Int8Scalar => {
            let scale = most(&values) / 127.0;
            push(".weight", integers(shape, &values, |_| scale));
            push(".weight_scale", Written::floats(&[], &[scale]));
            push(".comfy_quant", Written::text(r#"{"format": "int8_tensorwise"}"#));
        }
        Numbers::AsTheyAre | Numbers::Bf16 | Numbers::RoundedToBf16 | Numbers::AllF8 => {
            push(".weight", plain(tensor, numbers));
        }
    }
}

/// Whole numbers from -127 to 127, each of a value by its scale.
fn integers(shape: [usize; 2], values: &[f32], scale: impl Fn(usize) -> f32) -> Written {
    let encode =
        |(index, value): (usize, &f32)| ((value / scale(index)).round() as i8).cast_unsigned();
    let bytes = values.iter().enumerate().map(encode).collect();
    Written { dtype: Dtype::I8, shape: shape.to_vec(), bytes }
}

fn most(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| f32::max(most, value.abs()))
}

/// The scale of each square of `side` rows and columns, so that its largest value is fp8's largest,
/// 448; their shape, and that side.
fn scales(
    values: &[f32],
    [rows, columns]: [usize; 2],
    side: [usize; 2],
) -> (Vec<f32>, Vec<usize>, [usize; 2]) {
    let (down, across) = (rows.div_ceil(side[0]), columns.div_ceil(side[1]));
    let mut most = vec![0.0_f32; down * across];
    for (index, value) in values.iter().enumerate() {
        let square = index / columns / side[0] * across + index % columns / side[1];
        most[square] = most[square].max(value.abs());
    }
    (most.iter().map(|most| most / 448.0).collect(), vec![down, across], side)
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
