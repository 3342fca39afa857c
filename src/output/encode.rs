//! Pixels to PNG, JPEG or WebP in a file, with the texts of [`super::metadata`] inside.
//!
//! PNG holds them in text chunks before the pixels, keywords `parameters` and `zimaged`; JPEG and
//! WebP in EXIF, see [`super::exif`], which says time, job file and tags in all of them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use png::EncodingError;
use png::text_metadata::{ITXtChunk, TEXtChunk};
use sha2::{Digest, Sha256};

use super::exif;
use super::metadata::{KEY, Metadata};
use crate::engine::Pixels;
use crate::files;
use crate::job::Format;

/// High enough that no one sees the loss.
const JPEG_QUALITY: u8 = 95;

/// A JPEG segment has 16 bits for its length, itself included, and EXIF's own header is 6 bytes.
const JPEG_EXIF_BYTES_MAX: usize = 0xffff - 2 - 6;

/// Where both texts do not fit a JPEG segment, prompts are cut to this: at most 4 bytes for each in
/// UserComment, 6 in our JSON, twice, and ample room for the rest.
const JPEG_PROMPT_BYTES_MAX: usize = 2048;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// Encodes and writes the picture to `path` (replacing a temporary file of an earlier death),
/// fsynced.
///
/// On an error nothing is left at `path`. Errors of the operating system keep their code.
pub fn write_picture(
    path: &Path,
    pixels: &Pixels,
    format: Format,
    metadata: &Metadata,
) -> io::Result<Written> {
    let result = try_write(path, pixels, format, metadata);
    if result.is_err() {
        // The first error is the one to tell; what stays is removed at the next start.
        let _ = fs::remove_file(path);
    }
    result
}

fn try_write(
    path: &Path,
    pixels: &Pixels,
    format: Format,
    metadata: &Metadata,
) -> io::Result<Written> {
    if pixels.rgb.len() as u64 != 3 * u64::from(pixels.width) * u64::from(pixels.height) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "pixels do not fill width times height",
        ));
    }
    let mut out = BufWriter::new(HashingFile::create(path)?);
    match format {
        Format::Png => write_png(&mut out, pixels, metadata)?,
        Format::Jpeg => write_jpeg(&mut out, pixels, metadata)?,
        Format::Webp => write_webp(&mut out, pixels, metadata)?,
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

fn write_png<W: Write>(out: W, pixels: &Pixels, metadata: &Metadata) -> io::Result<()> {
    let mut info = png::Info::with_size(pixels.width, pixels.height);
    info.exif_metadata = Some(exif::encode_facts(metadata)?.into());
    png::Encoder::with_info(out, info)
        .and_then(|encoder| write_png_chunks(encoder, pixels, metadata))
        .map_err(|error| match error {
            EncodingError::IoError(error) => error,
            other => io::Error::other(other),
        })
}

fn write_png_chunks(
    mut encoder: png::Encoder<impl Write>,
    pixels: &Pixels,
    metadata: &Metadata,
) -> Result<(), EncodingError> {
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    let parameters = metadata.parameters();
    if parameters.chars().all(|c| u8::try_from(c).is_ok()) {
        writer.write_text_chunk(&TEXtChunk::new("parameters", parameters))?;
    } else {
        writer.write_text_chunk(&ITXtChunk::new("parameters", parameters))?;
    }
    writer.write_text_chunk(&ITXtChunk::new(KEY, metadata.json()))?;
    writer.write_image_data(&pixels.rgb)?;
    writer.finish()
}

fn write_jpeg<W: Write>(out: W, pixels: &Pixels, metadata: &Metadata) -> io::Result<()> {
    let mut block = exif::encode(metadata)?;
    if block.len() > JPEG_EXIF_BYTES_MAX {
        block = exif::encode(&metadata.with_short_prompts(JPEG_PROMPT_BYTES_MAX))?;
    }
    if block.len() > JPEG_EXIF_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the facts about the picture do not fit a JPEG",
        ));
    }
    encode_rgb(JpegEncoder::new_with_quality(out, JPEG_QUALITY), pixels, block)
}

fn write_webp<W: Write>(out: W, pixels: &Pixels, metadata: &Metadata) -> io::Result<()> {
    encode_rgb(WebPEncoder::new_lossless(out), pixels, exif::encode(metadata)?)
}

fn encode_rgb(mut encoder: impl ImageEncoder, pixels: &Pixels, exif: Vec<u8>) -> io::Result<()> {
    encoder.set_exif_metadata(exif).map_err(io::Error::other)?;
    encoder.write_image(&pixels.rgb, pixels.width, pixels.height, ExtendedColorType::Rgb8).map_err(
        |error| match error {
            ImageError::IoError(error) => error,
            other => io::Error::other(other),
        },
    )
}

/// A file that is hashed and counted while it is written.
struct HashingFile {
    file: File,
    sha256: Sha256,
    bytes: u64,
}

impl HashingFile {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(HashingFile { file: files::create_afresh(path)?, sha256: Sha256::new(), bytes: 0 })
    }

    /// One fsync: after a failed one a second could succeed with the data gone.
    fn finish(self) -> io::Result<Written> {
        self.file.sync_all()?;
        Ok(Written { bytes: self.bytes, sha256: files::hex(self.sha256) })
    }
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::metadata::tests::metadata;

    /// A disk without room.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(rustix::io::Errno::NOSPC.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_by_its_code_in_every_format() {
        let pixels = Pixels { width: 16, height: 16, rgb: vec![0; 3 * 16 * 16] };
        for write in [write_png::<Full>, write_jpeg, write_webp] {
            let error =
                write(Full, &pixels, &metadata("x", "")).expect_err("nothing can be written");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error()));
        }
    }
}
