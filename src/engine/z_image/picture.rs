//! From the decoder's numbers to pixels, and what is recognised as no picture.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::engine::Pixels;

/// A picture whose brightest and darkest values lie no further apart is flat.
const FLAT_LEVELS: u8 = 2;

/// `decoded` (height, width, 3), about -1 to 1, as pixels: `round(clamp(x / 2 + 0.5, 0, 1) * 255)`
/// in f32.
pub fn pixels(decoded: &Tensor) -> Result<Pixels> {
    let (height, width, channels) = decoded.dims3()?;
    let values: Vec<f32> =
        decoded.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let mut rgb = vec![0; values.len()];
    // The device waits meanwhile: all threads of the processor take part.
    let row = channels * width;
    rgb.par_chunks_mut(row).zip(values.par_chunks(row)).for_each(|(rgb, values)| {
        rgb.iter_mut().zip(values).for_each(|(rgb, value)| *rgb = level(*value));
    });
    Ok(Pixels { width: width as u32, height: height as u32, rgb })
}

/// numpy rounds halves to even.
fn level(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Why `values` cannot become a picture, where one of them is not finite.
pub fn not_finite(values: &Tensor) -> Result<Option<String>> {
    // A sum is finite only if all values are: infinities stay, and NaN spreads.
    let sum: f32 = values.to_dtype(DType::F32)?.sum_all()?.to_scalar()?;
    Ok((!sum.is_finite()).then(|| {
        "its values are not finite; `zimaged model verify` finds out whether the weights are damaged"
            .to_owned()
    }))
}

/// Why `pixels` are no picture, where all have one colour: a model gives that only after an
/// overflow.
pub fn flat(pixels: &Pixels) -> Option<String> {
    let (first, rest) = pixels.rgb.split_first_chunk::<3>()?;
    let differs = |pixel: &[u8]| pixel.iter().zip(first).any(|(a, b)| a.abs_diff(*b) > FLAT_LEVELS);
    (!rest.chunks(3).any(differs)).then(|| format!("it is flat, all of it rgb{first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: f32) -> Tensor {
        Tensor::full(value, (4, 5, 3), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_black_picture_is_flat_and_one_bright_pixel_saves_it() {
        let mut picture = pixels(&filled(-1.0)).unwrap();
        assert_eq!(flat(&picture).unwrap(), "it is flat, all of it rgb[0, 0, 0]");
        picture.rgb[20] = 200;
        assert_eq!(flat(&picture), None);
    }

    #[test]
    fn nan_and_infinity_are_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = Tensor::cat(&[filled(0.5), filled(bad)], 0).unwrap();
            assert!(not_finite(&values).unwrap().is_some());
        }
        assert_eq!(not_finite(&filled(0.5)).unwrap(), None);
    }

    #[test]
    fn pixels_are_rows_of_rgb_rounded_to_even() {
        let decoded = Tensor::new(&[-2.0_f32, 0.5, 2.0, 0.0, 1.0, -1.0], &Device::Cpu).unwrap();
        let picture = pixels(&decoded.reshape((1, 2, 3)).unwrap()).unwrap();
        // 0 is 127.5 and 0.5 is 191.25.
        assert_eq!((picture.width, picture.height), (2, 1));
        assert_eq!(picture.rgb, [0, 191, 255, 128, 255, 0]);
    }
}
