//! From a file's content to pixels: in the formats that pictures are written in, in the size that
//! is rendered.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::resize::resized;
use super::{InputError, InputLimits};
use crate::engine::{InputPicture, Pixels};

/// Memory for one decoded picture and what its decoder needs: 268 million pixels of four bytes are
/// twice the highest limit.
const DECODER_BYTES_MAX: u64 = 2 << 30;

/// Grey of this and above is painted over.
const PAINTED_FROM: u8 = 128;

type Result<T> = std::result::Result<T, InputError>;

/// Whether `content` is a picture within the limits, by its first bytes: it is not decoded. Answers
/// width and height as people see them.
pub fn inspect(content: &[u8], limits: InputLimits) -> Result<(u32, u32)> {
    guarded(|| {
        let mut decoder = decoder(content)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > limits.pixels_max {
            return Err(InputError::Wide { width, height, pixels_max: limits.pixels_max });
        }
        // The picture can be decoded without it.
        let turned = decoder.orientation().is_ok_and(is_on_its_side);
        Ok(if turned { (height, width) } else { (width, height) })
    })
}

fn is_on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// The picture of `content`, and the mask where it has one, of `width` by `height` pixels.
///
/// What has another size is resized as the reference implementation does, which keeps no
/// proportions. Transparency does not count.
pub fn input_picture(content: &[u8], width: u32, height: u32) -> Result<Pixels> {
    guarded(|| {
        let picture = decoded(content)?.into_rgb8();
        let picture = resized(picture, width, height);
        Ok(Pixels { width, height, rgb: picture.into_raw() })
    })
}

impl InputPicture {
    /// With the mask of `content`, as large as the picture: what is bright in it is painted over.
    pub fn with_mask(self, content: &[u8]) -> Result<InputPicture> {
        let Pixels { width, height, .. } = self.pixels;
        let mask = guarded(|| {
            let picture = resized(decoded(content)?.into_rgb8(), width, height);
            Ok(picture.pixels().map(|pixel| grey(pixel.0) >= PAINTED_FROM).collect())
        })?;
        Ok(InputPicture { mask: Some(mask), ..self })
    }
}

/// ITU-R 601, as Pillow rounds it.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

/// As people see it: turned as its EXIF says.
fn decoded(content: &[u8]) -> Result<DynamicImage> {
    let mut decoder = decoder(content)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Whether the content, or its beginning, is that of a picture in one of our formats.
pub fn is_picture(content: &[u8]) -> bool {
    format(content).is_ok()
}

fn format(content: &[u8]) -> Result<ImageFormat> {
    let known = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
    image::guess_format(content).ok().filter(|it| known.contains(it)).ok_or(InputError::Format)
}

fn decoder(content: &[u8]) -> Result<impl ImageDecoder> {
    let format = format(content)?;
    let mut reader = ImageReader::with_format(Cursor::new(content), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    reader.into_decoder().map_err(broken)
}

fn broken(error: image::ImageError) -> InputError {
    InputError::Broken(error.to_string())
}

/// A decoder that panics has met a file that its authors have not.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    let caught = catch_unwind(AssertUnwindSafe(read));
    caught.unwrap_or_else(|_| Err(InputError::Broken("its decoder fails".to_owned())))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    const LIMITS: InputLimits = InputLimits { bytes_max: 1 << 20, pixels_max: 64 };

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut content = Cursor::new(Vec::new());
        picture.write_to(&mut content, format).unwrap();
        content.into_inner()
    }

    fn slope(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 9])).into()
    }

    #[test]
    fn the_three_formats_are_pictures_and_nothing_else_is() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let content = written(&slope(8, 6), format);
            assert_eq!(inspect(&content, LIMITS).unwrap(), (8, 6));
            assert_eq!(input_picture(&content, 8, 6).unwrap().rgb.len(), 144);
            for length in [0, 3, 9, 20] {
                assert!(inspect(&content[..length], LIMITS).is_err(), "{format:?} {length}");
            }
            let half = &content[..content.len() - 12];
            assert!(matches!(input_picture(half, 8, 6), Err(InputError::Broken(_))), "{format:?}");
        }
        for content in [&b"GIF89a\x08\0\x06\0"[..], b"BM", b"prompt = 'a fox'", b"", b"<svg>"] {
            assert!(matches!(inspect(content, LIMITS), Err(InputError::Format)));
        }
    }

    #[test]
    fn a_picture_that_claims_too_many_pixels_is_not_decoded() {
        let content = written(&slope(13, 5), ImageFormat::Png);
        let refused = inspect(&content, LIMITS).unwrap_err().to_string();
        assert!(refused.starts_with("it has 13x5 pixels; at most 64 in all"), "{refused}");
        let mut bomb = content;
        bomb[16..24].copy_from_slice(&[0, 255, 255, 255, 0, 255, 255, 255]);
        assert!(inspect(&bomb, LIMITS).is_err());
        assert!(input_picture(&bomb, 8, 8).is_err());
    }

    #[test]
    fn transparency_does_not_count_and_sixteen_bits_are_rounded() {
        let clear =
            DynamicImage::from(image::RgbaImage::from_pixel(4, 4, image::Rgba([9, 8, 7, 0])));
        let deep = image::ImageBuffer::from_pixel(4, 4, image::Rgb([0x0900_u16, 0x0801, 0x0707]));
        for picture in [clear, deep.into()] {
            let pixels = input_picture(&written(&picture, ImageFormat::Png), 4, 4).unwrap();
            assert_eq!(pixels.rgb[..3], [9, 8, 7]);
        }
    }

    #[test]
    fn bright_is_painted_over_by_the_grey_that_eyes_see() {
        let colours = [[128, 128, 128], [127, 127, 127], [0, 255, 0], [255, 0, 0], [0, 0, 255]];
        let mask = RgbImage::from_fn(5, 1, |x, _| image::Rgb(colours[x as usize]));
        let pixels = Pixels { width: 5, height: 1, rgb: vec![0; 15] };
        let content = written(&mask.into(), ImageFormat::Png);
        let input = InputPicture { pixels, mask: None }.with_mask(&content).unwrap();
        assert_eq!(input.mask.unwrap(), [true, false, true, false, false]);
    }
}
