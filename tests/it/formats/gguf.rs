//! GGUF files as the two converters write them that people use.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};

use super::rename::Named;

/// Formats of GGUF whose blocks fill the reference's rows, and how far they may be off.
pub const GGUF_BOUNDS: [(GgmlDType, f64); 3] =
    [(GgmlDType::Q8_0, 0.025), (GgmlDType::Q5_0, 0.2), (GgmlDType::Q4_0, 0.4)];

/// Writes a GGUF file as the usual converters do: vectors and small tensors stay F32, without their
/// leading ones; matrices have `format` where their rows are whole blocks of it.
pub fn write_gguf(path: &Path, named: &Named, architecture: &str, format: Option<GgmlDType>) {
    let of_tensor = |_: &str, tensor: &Tensor| {
        let is_matrix = tensor.rank() == 2;
        format.filter(|format| is_matrix && fills(*format, tensor)).unwrap_or(GgmlDType::F32)
    };
    let flat = named.iter().map(|(name, tensor)| match tensor.dims() {
        [1, length] => (name.clone(), tensor.reshape(*length).unwrap()),
        _ => (name.clone(), tensor.clone()),
    });
    // Every encoder of llama.cpp's has its words in it, and nobody says how tensors lie.
    let words = ["<|im_start|>", "fox", "狐"].map(|word| Value::String(word.to_owned()));
    let metadata = [
        ("general.architecture", Value::String(architecture.to_owned())),
        ("general.quantization_version", Value::U32(2)),
        ("qwen3.rope.freq_base", Value::F32(1e6)),
        ("tokenizer.ggml.tokens", Value::Array(words.to_vec())),
        ("general.alignment", Value::U32(0)),
    ];
    write_blocks(path, &flat.collect(), &metadata, of_tensor);
}

/// Writes one as stable-diffusion.cpp does: it says nothing of itself, keeps all names and shapes,
/// and norms, biases and pad tokens may have any type as well.
pub fn write_bare_gguf(path: &Path, named: &Named, format: GgmlDType) {
    let any = [GgmlDType::Q8_0, GgmlDType::F16, GgmlDType::BF16];
    let of_tensor = |name: &str, tensor: &Tensor| {
        let is_matrix = tensor.rank() == 2 && tensor.dims()[0] > 1;
        let wanted = if is_matrix { format } else { any[name.len() % any.len()] };
        if fills(wanted, tensor) { wanted } else { GgmlDType::F32 }
    };
    write_blocks(path, named, &[], of_tensor);
}

fn fills(format: GgmlDType, tensor: &Tensor) -> bool {
    tensor.dims().last().is_some_and(|columns| columns.is_multiple_of(format.block_size()))
}

fn write_blocks(
    path: &Path,
    named: &Named,
    metadata: &[(&str, Value)],
    format: impl Fn(&str, &Tensor) -> GgmlDType,
) {
    let quantised = named.iter().map(|(name, tensor)| {
        let tensor = tensor.to_dtype(DType::F32).unwrap();
        (name.as_str(), QTensor::quantize(&tensor, format(name, &tensor)).unwrap())
    });
    let quantised: Vec<(&str, QTensor)> = quantised.collect();
    let tensors: Vec<(&str, &QTensor)> =
        quantised.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let mut file = BufWriter::new(File::create(path).unwrap());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}
