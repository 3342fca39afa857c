//! Text in pictures, in the bitmap font Unifont: it has a glyph for nearly every character of the
//! Basic Multilingual Plane, Chinese among them, and stays legible at this size.

use image::{Rgb, RgbImage};
use unifont::Glyph;

/// The height of a line, in pixels.
pub(super) const LINE_PX: u32 = 16;

/// In the place of a character that the font lacks, such as most emoji: an empty square.
const MISSING: char = '\u{25a1}';

const MARK: char = '…';

fn glyph(c: char) -> Option<&'static Glyph> {
    unifont::get_glyph(c).or_else(|| unifont::get_glyph(MISSING))
}

fn char_px(c: char) -> u32 {
    glyph(c).map_or(0, |glyph| glyph.get_width() as u32)
}

/// The width of a line of text, in pixels.
pub(super) fn width_px(text: &str) -> u32 {
    text.chars().map(char_px).sum()
}

/// The text in lines of at most `width_max_px`, broken at spaces where there are any. What does not
/// go into `lines_max` lines is left out, with a mark at its place.
pub(super) fn wrap(text: &str, width_max_px: u32, lines_max: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && lines.len() < lines_max {
        let end = line_end(rest, width_max_px);
        let (line, later) = rest.split_at(end);
        lines.push(line.trim_end().to_owned());
        rest = later.trim_start();
    }
    if let (false, Some(last)) = (rest.is_empty(), lines.last_mut()) {
        while !last.is_empty() && width_px(last) + char_px(MARK) > width_max_px {
            last.pop();
        }
        last.push(MARK);
    }
    lines
}

/// Where the first line of the text ends, in bytes; behind one character at least.
fn line_end(text: &str, width_max_px: u32) -> usize {
    let (mut px, mut space) = (0, None);
    for (at, c) in text.char_indices() {
        px += char_px(c);
        if px > width_max_px {
            return space.unwrap_or(at).max(text.chars().next().map_or(0, char::len_utf8));
        }
        if c == ' ' {
            space = Some(at + 1);
        }
    }
    text.len()
}

/// Draws a line of text with its upper left corner at `left`, `top`; what lies outside is cut off.
pub(super) fn draw(canvas: &mut RgbImage, left: u32, top: u32, text: &str, colour: Rgb<u8>) {
    let mut left = left;
    for glyph in text.chars().filter_map(glyph) {
        let width = glyph.get_width();
        for (x, y) in (0..width).flat_map(|x| (0..LINE_PX as usize).map(move |y| (x, y))) {
            let (at_x, at_y) = (left + x as u32, top + y as u32);
            if glyph.get_pixel(x, y) && at_x < canvas.width() && at_y < canvas.height() {
                canvas.put_pixel(at_x, at_y, colour);
            }
        }
        left += width as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_between_chinese_characters_and_end_with_a_mark() {
        assert_eq!(wrap("a red fox", 48, 9), ["a red", "fox"]);
        assert_eq!(wrap("一只可爱的猫", 48, 9), ["一只可", "爱的猫"]);
        assert_eq!(wrap("一只可爱的猫", 48, 1), ["一只…"]);
        assert_eq!(wrap("abcdefghij", 40, 1), ["abcd…"]);
        assert_eq!(wrap("狐", 1, 2), ["狐"], "no line is empty");
        assert!(wrap(" ", 40, 3).is_empty());
    }

    #[test]
    fn chinese_has_glyphs_and_what_has_none_is_a_square() {
        let drawn = |text| {
            let mut canvas = RgbImage::new(16, 16);
            draw(&mut canvas, 0, 0, text, Rgb([255; 3]));
            canvas
        };
        let count = |text| drawn(text).pixels().filter(|pixel| pixel.0[0] > 0).count();
        assert!(count("猫") > 30 && drawn("猫") != drawn("狐"));
        assert_eq!(drawn("\u{1f98a}"), drawn("□"));
    }
}
