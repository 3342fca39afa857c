//! How files write the values of a tensor, and how these become floats.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result, bail};
use float8::{F8E4M3, F8E5M2};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// How the values of one tensor are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    F8E4M3,
    F8E5M2,
    I8,
    /// Blocks of values that share a scale, as llama.cpp writes them.
    Blocks(GgmlDType),
    /// Something that no weight is read from, by its name in the file.
    Other(String),
}

impl Encoding {
    /// By the name that a safetensors file has for it.
    pub fn of_safetensors(name: &str) -> Encoding {
        match name {
            "F32" => Encoding::F32,
            "F16" => Encoding::F16,
            "BF16" => Encoding::Bf16,
            "F8_E4M3" => Encoding::F8E4M3,
            "F8_E5M2" => Encoding::F8E5M2,
            "I8" => Encoding::I8,
            other => Encoding::Other(other.to_owned()),
        }
    }

    /// By the number that a GGUF file has for it (`enum ggml_type` of ggml.h).
    pub fn of_gguf(number: u32) -> Encoding {
        let blocks = match number {
            0 => return Encoding::F32,
            1 => return Encoding::F16,
            30 => return Encoding::Bf16,
            2 => GgmlDType::Q4_0,
            3 => GgmlDType::Q4_1,
            6 => GgmlDType::Q5_0,
            7 => GgmlDType::Q5_1,
            8 => GgmlDType::Q8_0,
            10 => GgmlDType::Q2K,
            11 => GgmlDType::Q3K,
            12 => GgmlDType::Q4K,
            13 => GgmlDType::Q5K,
            14 => GgmlDType::Q6K,
            other => return Encoding::Other(gguf_name(other)),
        };
        Encoding::Blocks(blocks)
    }

    /// What `count` values take; `None` where they fill no whole number of blocks, or are not known
    /// to us.
    pub fn bytes(&self, count: usize) -> Option<usize> {
        match self {
            Encoding::F32 => count.checked_mul(4),
            Encoding::F16 | Encoding::Bf16 => count.checked_mul(2),
            Encoding::F8E4M3 | Encoding::F8E5M2 | Encoding::I8 => Some(count),
            Encoding::Blocks(format) if count.is_multiple_of(format.block_size()) => {
                (count / format.block_size()).checked_mul(format.type_size())
            }
            Encoding::Blocks(_) | Encoding::Other(_) => None,
        }
    }

    /// The values in `bytes`, which are `out.len()`.
    pub fn decode(&self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        match self {
            Encoding::F32 => {
                let values = bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value));
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
            }
            Encoding::F16 => {
                let pairs = bytes.as_chunks().0.iter();
                let values: Vec<f16> = pairs.map(|&pair| f16::from_le_bytes(pair)).collect();
                values.convert_to_f32_slice(out);
            }
            Encoding::Bf16 => {
                // The upper half of an f32.
                let values = bytes.as_chunks().0.iter();
                let values = values.map(|&pair| u32::from(u16::from_le_bytes(pair)) << 16);
                out.iter_mut().zip(values).for_each(|(out, bits)| *out = f32::from_bits(bits));
            }
            Encoding::F8E4M3 => look_up(&E4M3, bytes, out),
            Encoding::F8E5M2 => look_up(&E5M2, bytes, out),
            Encoding::I8 => {
                let values = bytes.iter().map(|&byte| f32::from(byte.cast_signed()));
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
            }
            Encoding::Blocks(format) => {
                let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, *format)?;
                let values = QTensor::new(storage, out.len())?.dequantize(&Device::Cpu)?;
                out.copy_from_slice(&values.to_vec1()?);
            }
            Encoding::Other(name) => bail!("values of type {name} are not read"),
        }
        Ok(())
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::F32 => f.write_str("F32"),
            Encoding::F16 => f.write_str("F16"),
            Encoding::Bf16 => f.write_str("BF16"),
            Encoding::F8E4M3 => f.write_str("F8_E4M3"),
            Encoding::F8E5M2 => f.write_str("F8_E5M2"),
            Encoding::I8 => f.write_str("I8"),
            Encoding::Blocks(format) => write!(f, "{}", block_name(*format)),
            Encoding::Other(name) => f.write_str(name),
        }
    }
}

/// A format as llama.cpp writes its name.
fn block_name(format: GgmlDType) -> String {
    let name = format!("{format:?}");
    match name.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => name,
    }
}

/// Formats of GGUF files that are not read, by number.
fn gguf_name(number: u32) -> String {
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        other => return format!("number {other}"),
    };
    name.to_owned()
}

/// Every value of a format of eight bits.
type Bytes = LazyLock<[f32; 256]>;

static E4M3: Bytes = LazyLock::new(|| every_byte(|bits| F8E4M3::from_bits(bits).to_f32()));
static E5M2: Bytes = LazyLock::new(|| every_byte(|bits| F8E5M2::from_bits(bits).to_f32()));

fn every_byte(value: impl Fn(u8) -> f32) -> [f32; 256] {
    std::array::from_fn(|bits| value(bits as u8))
}

fn look_up(values: &[f32; 256], bytes: &[u8], out: &mut [f32]) {
    out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = values[usize::from(byte)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<const N: usize>(encoding: &Encoding, bytes: &[u8]) -> [f32; N] {
        let mut out = [0.0; N];
        encoding.decode(bytes, &mut out).expect("values");
        out
    }

    #[test]
    fn each_type_of_float_is_read_as_its_standard_says() {
        let one_and_a_half = |encoding: &Encoding, bytes: &[u8]| {
            assert_eq!(decoded(encoding, bytes), [1.5, -1.5], "{encoding}");
        };
        one_and_a_half(&Encoding::F32, &[0, 0, 0xc0, 0x3f, 0, 0, 0xc0, 0xbf]);
        one_and_a_half(&Encoding::F16, &[0, 0x3e, 0, 0xbe]);
        one_and_a_half(&Encoding::Bf16, &[0xc0, 0x3f, 0xc0, 0xbf]);
        // Four bits of exponent with a bias of 7, three of the fraction; five with 15, two.
        one_and_a_half(&Encoding::F8E4M3, &[0x3c, 0xbc]);
        one_and_a_half(&Encoding::F8E5M2, &[0x3e, 0xbe]);
        // The largest, and the smallest above zero (OCP 8-bit floating point, table 1).
        assert_eq!(decoded(&Encoding::F8E4M3, &[0x7e, 0x01]), [448.0, 0.001_953_125]);
        assert_eq!(decoded(&Encoding::F8E5M2, &[0x7b, 0x01]), [57344.0, 1.525_878_9e-5]);
        assert_eq!(decoded(&Encoding::I8, &[0x7f, 0x80]), [127.0, -128.0]);
    }

    #[test]
    fn blocks_take_what_their_format_says_and_rows_must_fill_them() {
        let q8 = Encoding::of_gguf(8);
        assert_eq!(q8.bytes(64), Some(68));
        assert_eq!(q8.bytes(65), None);
        // A scale of 0.5 in f16, then 32 numbers.
        let block: Vec<u8> = [0x00, 0x38].into_iter().chain(0..32).collect();
        assert_eq!(decoded::<32>(&q8, &block)[31], 15.5);
        assert_eq!(Encoding::of_gguf(14).to_string(), "Q6_K");
        for (number, name) in [(20, "IQ4_NL"), (34, "TQ1_0"), (35, "TQ2_0")] {
            assert_eq!(Encoding::of_gguf(number), Encoding::Other(name.to_owned()));
        }
    }
}
