//! Contact sheets: pictures in a grid, with labels, as one picture.

mod layout;
mod text;

use std::fs::File;
use std::io::{self, Cursor};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use rustix::fs::OFlags;

use self::layout::Layout;
use self::text::{LINE_PX, draw, wrap};
use crate::thumbnails;

/// High enough for text to stay clean.
const JPEG_QUALITY: u8 = 92;

const PAPER: Rgb<u8> = Rgb([255; 3]);
const EMPTY: Rgb<u8> = Rgb([224; 3]);
const INK: Rgb<u8> = Rgb([24; 3]);

/// What is put on a sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    pub title: String,
    /// Above each column; empty where the columns mean nothing.
    pub heads: Vec<String>,
    /// Before each row; empty where the rows mean nothing.
    pub labels: Vec<String>,
    /// How many columns there are, where they have no heads; at least 1.
    pub columns: usize,
    /// Row by row.
    pub cells: Vec<Cell>,
    /// The height of a cell, as a multiple of its width.
    pub aspect: f64,
}

/// One place on a sheet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub picture: Option<PathBuf>,
    /// Stands in the picture's place where there is none.
    pub note: String,
    /// Under the picture.
    pub caption: String,
}

/// A sheet as it was drawn.
pub struct Drawn {
    image: RgbImage,
    /// Pictures that could not be read.
    pub unreadable: usize,
}

impl Sheet {
    fn columns(&self) -> usize {
        self.heads.len().max(self.columns).max(1)
    }

    /// Draws it, with one picture in memory at a time. `None` where there are too many pictures for
    /// a sheet of a reasonable size.
    pub fn draw(&self) -> Option<Drawn> {
        let layout = Layout::of(self)?;
        let image = RgbImage::from_pixel(layout.width, layout.height, PAPER);
        let mut drawn = Drawn { image, unreadable: 0 };
        lines(&mut drawn.image, layout.left(), layout.top(), &layout.title);
        for (column, head) in layout.heads.iter().enumerate() {
            lines(&mut drawn.image, layout.column_left(column), layout.heads_top, head);
        }
        for (row, label) in self.labels.iter().enumerate() {
            let lines_max = (layout.thumbnail.1 / LINE_PX).max(1) as usize;
            let label = wrap(label, layout.label_px, lines_max);
            lines(&mut drawn.image, layout.left(), layout.row_top(row), &label);
        }
        for (index, cell) in self.cells.iter().enumerate() {
            let (row, column) = (index / self.columns(), index % self.columns());
            let place = (layout.column_left(column), layout.row_top(row));
            drawn.cell(cell, place, &layout);
        }
        Some(drawn)
    }
}

impl Drawn {
    fn cell(&mut self, cell: &Cell, (left, top): (u32, u32), layout: &Layout) {
        let (width, height) = layout.thumbnail;
        let read = cell.picture.as_deref().map(|path| thumbnail(path, layout.thumbnail));
        let mut note = cell.note.as_str();
        match read {
            Some(Some(picture)) => {
                let x = left + (width - picture.width()) / 2;
                let y = top + (height - picture.height()) / 2;
                imageops::replace(&mut self.image, &picture, x.into(), y.into());
                note = "";
            }
            Some(None) => {
                self.unreadable += 1;
                note = "not readable";
            }
            None => (),
        }
        if !note.is_empty() {
            let empty = RgbImage::from_pixel(width, height, EMPTY);
            imageops::replace(&mut self.image, &empty, left.into(), top.into());
            let lines_max = (height / LINE_PX).max(1) as usize;
            lines(&mut self.image, left, top, &wrap(note, width, lines_max));
        }
        let caption = wrap(&cell.caption, width, layout.caption_lines);
        lines(&mut self.image, left, top + height, &caption);
    }

    pub fn size(&self) -> (u32, u32) {
        self.image.dimensions()
    }

    /// The content of its file, in the format of the name's extension: PNG, JPEG or WebP.
    pub fn encoded(&self, path: &Path) -> io::Result<Vec<u8>> {
        let format = ImageFormat::from_path(path).ok();
        let known = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
        let format = format.filter(|format| known.contains(format)).ok_or_else(|| {
            let why = "the name of a sheet must end in .png, .jpg or .webp";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        // In memory, so that every error of the disk is the disk's own and a full one is known.
        let mut encoded = Cursor::new(Vec::new());
        let written = match format {
            ImageFormat::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut encoded, JPEG_QUALITY);
                self.image.write_with_encoder(encoder)
            }
            format => self.image.write_to(&mut encoded, format),
        };
        written.map_err(io::Error::other)?;
        Ok(encoded.into_inner())
    }
}

fn lines(canvas: &mut RgbImage, left: u32, top: u32, lines: &[String]) {
    for (line, at) in lines.iter().zip(0..) {
        draw(canvas, left, top + at * LINE_PX, line, INK);
    }
}

/// The picture at `path`, no larger than `size`; `None` where it cannot be read.
fn thumbnail(path: &Path, (width, height): (u32, u32)) -> Option<RgbImage> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    Some(thumbnails::read(file).ok()?.thumbnail(width, height).into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(cells: usize) -> Sheet {
        Sheet {
            title: "job 1 (狐.toml): 512x512, 8 steps".to_owned(),
            heads: Vec::new(),
            labels: Vec::new(),
            columns: (1..).find(|side| side * side >= cells).expect("a square"),
            cells: vec![Cell { note: "failed".to_owned(), ..Cell::default() }; cells],
            aspect: 1.0,
        }
    }

    #[test]
    fn thumbnails_get_smaller_where_there_are_many_and_too_many_are_refused() {
        let pixels = |cells| {
            let (width, height) = sheet(cells).draw()?.size();
            Some(width as usize * height as usize)
        };
        assert!(pixels(4).is_some_and(|pixels| pixels > 4 * 256 * 256));
        let many = pixels(2000).expect("smaller ones");
        assert!((2000 * 48 * 48..=24_000_000).contains(&many), "{many}");
        assert_eq!(pixels(20_000), None);
    }

    #[test]
    fn what_is_no_picture_is_named_and_the_others_are_drawn() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (good, bad) = (folder.path().join("a.png"), folder.path().join("b.png"));
        let red = RgbImage::from_pixel(64, 64, Rgb([200, 0, 0]));
        red.save(&good).expect("a writable folder");
        std::fs::write(&bad, "no picture").expect("a writable folder");
        let mut sheet = sheet(3);
        let pictures = [Some(good), Some(bad), Some(folder.path().join("missing.png"))];
        for (cell, picture) in sheet.cells.iter_mut().zip(pictures) {
            cell.picture = picture;
        }
        let drawn = sheet.draw().expect("three are few");
        assert_eq!(drawn.unreadable, 2);
        let red = drawn.image.pixels().filter(|pixel| pixel.0 == [200, 0, 0]).count();
        assert_eq!(red, 256 * 256, "as large as its place");
        for name in ["sheet.png", "sheet.jpg", "sheet.webp"] {
            let path = folder.path().join(name);
            let content = drawn.encoded(&path).expect("a known format");
            std::fs::write(&path, content).expect("a writable folder");
            let read = image::open(&path).expect("a picture");
            assert_eq!((read.width(), read.height()), drawn.size(), "{name}");
        }
        let refused = drawn.encoded(&folder.path().join("sheet.gif")).expect_err("no GIF");
        assert!(refused.to_string().contains("must end in .png"), "{refused}");
    }
}
