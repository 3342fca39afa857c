//! Lower precision of the transformer's weights: which are quantised, to which format, and the file
//! that has them.
//!
//! Only the matrices of the blocks are quantised. They are nearly all of the bytes, and a picture
//! is most sensitive to the rest (norms, modulation, embedders, the final layer).

mod file;

use std::fmt;

use candle_core::Shape;
use candle_core::quantized::GgmlDType;
use half::bf16;

pub use self::file::{ARCHITECTURE, QuantisedFile, SOURCE_HASH};
use super::ops::Int8Rows;
use crate::ladder::Precision;

/// The groups of blocks, as the names of their tensors begin.
const GROUPS: [&str; 3] = ["layers.", "noise_refiner.", "context_refiner."];

/// The parts of a block whose matrices are quantised.
const PARTS: [&str; 2] = [".attention.to_", ".feed_forward.w"];

/// How a matrix is kept that is not dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixFormat {
    /// In blocks with a scale each, as GGUF files have them.
    Blocks(GgmlDType),
    /// In rotated rows of eight bits with a scale each.
    Int8,
}

impl MatrixFormat {
    /// What a matrix of this shape takes.
    pub fn bytes(self, shape: &Shape) -> usize {
        match (self, shape.dims()) {
            (MatrixFormat::Blocks(format), _) => {
                shape.elem_count() / format.block_size() * format.type_size()
            }
            (MatrixFormat::Int8, &[rows, columns]) => {
                Int8Rows::length(rows, columns) * size_of::<bf16>()
            }
            (MatrixFormat::Int8, _) => 0,
        }
    }
}

impl fmt::Display for MatrixFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatrixFormat::Blocks(format) => write!(f, "{format:?}"),
            MatrixFormat::Int8 => f.write_str("int8"),
        }
    }
}

/// A matrix of the model that is quantised at some precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantisedMatrix {
    pub name: String,
    /// (outputs, inputs).
    pub shape: Shape,
    pub format: MatrixFormat,
    /// Its bytes in the model's own files.
    pub stored_bytes: usize,
}

impl QuantisedMatrix {
    /// Its bytes in its format.
    pub fn bytes(&self) -> usize {
        self.format.bytes(&self.shape)
    }
}

/// The format of the weight `name` of the transformer, with so many columns, at `precision`. `None`
/// says that it stays dense.
///
/// Q8_0 is 34 bytes for 32 weights (8.5 bits a weight). Q4_K is 144 for 256, Q4_0 18 for 32 (both
/// 4.5 bits): Q4_K is closer to the weights, but its blocks must fill the rows.
pub fn format(precision: Precision, name: &str, columns: usize) -> Option<MatrixFormat> {
    if !is_block_matrix(name) {
        return None;
    }
    let fit = |format: &GgmlDType| columns.is_multiple_of(format.block_size());
    let blocks = match precision {
        Precision::Full => None,
        Precision::Int8 => return Int8Rows::can_have(columns).then_some(MatrixFormat::Int8),
        Precision::Q8 => Some(GgmlDType::Q8_0).filter(fit),
        Precision::Q4 => [GgmlDType::Q4K, GgmlDType::Q4_0].into_iter().find(fit),
    };
    blocks.map(MatrixFormat::Blocks)
}

fn is_block_matrix(name: &str) -> bool {
    GROUPS.iter().any(|group| name.starts_with(group))
        && PARTS.iter().any(|part| name.contains(part))
        && name.ends_with(".weight")
}

/// The word for a lower precision in commands and names of files; `None` of those that have no
/// file.
fn word(precision: Precision) -> Option<&'static str> {
    match precision {
        Precision::Full | Precision::Int8 => None,
        Precision::Q8 => Some("q8"),
        Precision::Q4 => Some("q4"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W2: &str = "layers.29.feed_forward.w2.weight";

    #[test]
    fn a_matrix_of_a_block_gets_the_best_format_that_fills_its_rows() {
        let formats = |columns| {
            [Precision::Full, Precision::Q8, Precision::Q4].map(|p| format(p, W2, columns))
        };
        let blocks = |format| Some(MatrixFormat::Blocks(format));
        assert_eq!(formats(10240), [None, blocks(GgmlDType::Q8_0), blocks(GgmlDType::Q4K)]);
        assert_eq!(formats(192), [None, blocks(GgmlDType::Q8_0), blocks(GgmlDType::Q4_0)]);
        assert_eq!(formats(100), [None, None, None]);
        let int8 = |columns| format(Precision::Int8, W2, columns);
        let rotated = Some(MatrixFormat::Int8);
        assert_eq!([10240, 48, 100].map(int8), [rotated, rotated, None]);
    }

    #[test]
    fn only_the_large_matrices_of_blocks_are_quantised() {
        let quantised = |name| format(Precision::Q8, name, 256).is_some();
        assert!(quantised("noise_refiner.0.attention.to_q.weight"));
        assert!(quantised("context_refiner.1.attention.to_out.0.weight"));
        for dense in [
            "layers.0.attention.norm_q.weight",
            "layers.0.attention_norm1.weight",
            "layers.0.adaLN_modulation.0.weight",
            "layers.0.attention.to_q.bias",
            "all_x_embedder.2-1.weight",
            "all_final_layer.2-1.linear.weight",
            "t_embedder.mlp.0.weight",
            "cap_pad_token",
        ] {
            assert!(!quantised(dense), "{dense}");
        }
    }
}
