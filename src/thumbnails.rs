//! Small copies of pictures, for pages that show many of them. Each can be made again from its
//! picture, so that nothing depends on what is kept.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{
    DynamicImage, GenericImageView, ImageBuffer, ImageReader, Limits, Rgb, RgbImage, imageops,
};

use crate::engine::Pixels;
use crate::files;

/// The longer side: pages show them at half of this, which is sharp on screens of double density.
pub const SIDE_PX: u32 = 320;

/// A small picture shows no loss at this.
const JPEG_QUALITY: u8 = 80;

/// Some twenty thousand of them.
const ON_DISK_BYTES_MAX: u64 = 256 << 20;

/// So many are made before the oldest are looked for.
const SWEEP_EVERY: u32 = 1000;

/// Far more than one of ours has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Pictures are at most so wide and high; a larger one is not ours.
const PICTURE_SIDE_PX_MAX: u32 = 8192;

/// Memory for one picture that is read: 8192 by 8192 pixels of three bytes.
const PICTURE_BYTES_MAX: u64 = 256 << 20;

/// How every JPEG begins and ends.
const JPEG_MARKS: ([u8; 2], [u8; 2]) = ([0xff, 0xd8], [0xff, 0xd9]);

/// The kept ones, by the SHA-256 of their pictures' files.
#[derive(Debug)]
pub struct Thumbnails {
    folder: PathBuf,
    made: u32,
}

impl Thumbnails {
    /// Those in `folder`, which is made when the first one is kept.
    pub fn new(folder: &Path) -> Thumbnails {
        Thumbnails { folder: folder.to_owned(), made: 0 }
    }

    /// Keeps one of the picture that has `pixels`, whose file has the hash `sha256`.
    pub fn keep(&mut self, sha256: &str, pixels: &Pixels) -> io::Result<()> {
        let Pixels { width, height, rgb } = pixels;
        let picture = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(*width, *height, rgb)
            .ok_or_else(|| io::Error::other("pixels do not fill width times height"))?;
        self.write(sha256, &small_jpeg(&picture)?)
    }

    /// The JPEG for the picture whose file has the hash `sha256`; made of `picture` where none is
    /// kept.
    pub fn get(
        &mut self,
        sha256: &str,
        picture: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Vec<u8>> {
        if let Some(kept) = self.kept(sha256) {
            return Ok(kept);
        }
        let jpeg = small_jpeg(&read(picture()?)?.into_rgb8())?;
        if let Err(error) = self.write(sha256, &jpeg) {
            let folder = self.folder.display();
            tracing::debug!("{folder}: a small copy is not kept: {error}");
        }
        Ok(jpeg)
    }

    /// Removes that of the picture whose file has the hash `sha256`, if one is kept.
    pub fn remove(&self, sha256: &str) {
        let is_hash = !sha256.is_empty() && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            // What cannot be removed costs its room until it is among the oldest.
            let _ = fs::remove_file(self.path(sha256));
        }
    }

    /// Removes the oldest ones where they take too much room.
    pub fn sweep(&self) {
        files::remove_oldest(&self.folder, ON_DISK_BYTES_MAX);
    }

    /// A file that a power cut has left without its end does not count.
    fn kept(&self, sha256: &str) -> Option<Vec<u8>> {
        let jpeg = files::read_plain(&self.path(sha256), FILE_BYTES_MAX).ok()?;
        let (start, end) = JPEG_MARKS;
        (jpeg.starts_with(&start) && jpeg.ends_with(&end)).then_some(jpeg)
    }

    /// Not fsynced: a picture's seconds are dearer than its small copy.
    fn write(&mut self, sha256: &str, jpeg: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path(sha256);
        let temporary = path.with_extension(format!("{}.part", std::process::id()));
        fs::write(&temporary, jpeg).and_then(|()| fs::rename(&temporary, &path))?;
        self.made += 1;
        if self.made.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        Ok(())
    }

    fn path(&self, sha256: &str) -> PathBuf {
        self.folder.join(sha256).with_extension("jpg")
    }
}

/// The picture in `file`, within the limits of what we make.
pub fn read(file: File) -> io::Result<DynamicImage> {
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(PICTURE_SIDE_PX_MAX);
    limits.max_image_height = Some(PICTURE_SIDE_PX_MAX);
    limits.max_alloc = Some(PICTURE_BYTES_MAX);
    reader.limits(limits);
    reader.decode().map_err(io::Error::other)
}

/// The size of the small copy; a small picture is not enlarged.
fn fitted(width: u32, height: u32) -> (u32, u32) {
    let longer = width.max(height).max(1);
    let side = longer.min(SIDE_PX);
    let scaled = |of: u32| (u64::from(of) * u64::from(side) / u64::from(longer)).max(1) as u32;
    (scaled(width), scaled(height))
}

fn small_jpeg(picture: &impl GenericImageView<Pixel = Rgb<u8>>) -> io::Result<Vec<u8>> {
    let (width, height) = fitted(picture.width(), picture.height());
    let small: RgbImage = imageops::thumbnail(picture, width, height);
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    small.write_with_encoder(encoder).map_err(io::Error::other)?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ab12";

    fn pixels(width: u32, height: u32) -> Pixels {
        Pixels { width, height, rgb: vec![200; (3 * width * height) as usize] }
    }

    fn none() -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn size(jpeg: &[u8]) -> (u32, u32) {
        let picture = image::load_from_memory(jpeg).expect("a JPEG");
        (picture.width(), picture.height())
    }

    #[test]
    fn a_small_copy_has_the_proportions_of_its_picture_and_is_not_larger() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut thumbnails = Thumbnails::new(&folder.path().join("made"));
        for ((width, height), small) in
            [((1024, 576), (320, 180)), ((576, 1024), (180, 320)), ((64, 32), (64, 32))]
        {
            thumbnails.keep(HASH, &pixels(width, height)).expect("a writable folder");
            assert_eq!(size(&thumbnails.get(HASH, none).expect("it is kept")), small);
        }
    }

    #[test]
    fn what_is_missing_or_cut_short_is_made_of_the_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let picture = folder.path().join("fox.png");
        RgbImage::from_pixel(640, 320, Rgb([9, 9, 200])).save(&picture).expect("a writable folder");
        let mut thumbnails = Thumbnails::new(folder.path());
        assert!(thumbnails.get(HASH, none).is_err());
        let made = thumbnails.get(HASH, || File::open(&picture)).expect("made of the picture");
        assert_eq!(size(&made), (320, 160));
        let tiny = folder.path().join("tiny.png");
        RgbImage::from_pixel(64, 32, Rgb([9, 9, 200])).save(&tiny).expect("a writable folder");
        let made_of_tiny = thumbnails.get("cd34", || File::open(&tiny)).expect("made of it");
        assert_eq!(size(&made_of_tiny), (64, 32), "as the worker would have kept it");
        assert_eq!(thumbnails.get(HASH, none).expect("kept since"), made);
        fs::write(folder.path().join("ab12.jpg"), &made[..made.len() - 2]).expect("writable");
        assert!(thumbnails.get(HASH, none).is_err(), "cut short");
        thumbnails.remove("cd34");
        assert!(thumbnails.get("cd34", none).is_err(), "it was removed");
        let outside = folder.path().join("theirs.jpg");
        fs::write(&outside, "").expect("a writable folder");
        let made = folder.path().join("made");
        fs::create_dir(&made).expect("a writable folder");
        Thumbnails::new(&made).remove("../theirs");
        assert!(outside.exists(), "what is no hash names nothing");
        fs::write(&picture, "no picture").expect("a writable folder");
        assert!(thumbnails.get(HASH, || File::open(&picture)).is_err());
    }
}
