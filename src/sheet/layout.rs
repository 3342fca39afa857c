//! Where everything stands on a sheet, in pixels.

use super::Sheet;
use super::text::{LINE_PX, width_px, wrap};

/// A thumbnail's width where there is room.
const THUMBNAIL_PX: u32 = 256;

/// Smaller ones show nothing.
const THUMBNAIL_PX_MIN: u32 = 48;

/// A sheet has no more pixels than this: 72 MB while it is drawn.
const SHEET_PIXELS_MAX: u64 = 24_000_000;

/// No side is longer: WebP ends at 16,383.
const SIDE_PX_MAX: u64 = 16_000;

const MARGIN_PX: u32 = 8;
const LABEL_PX_MAX: u32 = 240;
const TITLE_LINES_MAX: usize = 4;
const CAPTION_LINES_MAX: usize = 2;

/// The places on a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub width: u32,
    pub height: u32,
    pub title: Vec<String>,
    /// The lines of each column's head; all empty where there are none.
    pub heads: Vec<Vec<String>>,
    /// The width that rows' labels take.
    pub label_px: u32,
    pub thumbnail: (u32, u32),
    /// Lines under each picture.
    pub caption_lines: usize,
    /// Where the heads begin, and the first row.
    pub heads_top: u32,
    pub rows_top: u32,
}

impl Layout {
    /// The largest one that keeps the bounds; `None` where even the smallest does not.
    pub fn of(sheet: &Sheet) -> Option<Layout> {
        (THUMBNAIL_PX_MIN..=THUMBNAIL_PX)
            .rev()
            .step_by(8)
            .map(|width| Layout::with(sheet, width))
            .find(Layout::is_small_enough)
    }

    fn is_small_enough(&self) -> bool {
        let [width, height] = [self.width, self.height].map(u64::from);
        width.max(height) <= SIDE_PX_MAX && width * height <= SHEET_PIXELS_MAX
    }

    fn with(sheet: &Sheet, thumbnail_px: u32) -> Layout {
        let height_px = (f64::from(thumbnail_px) * sheet.aspect.clamp(0.25, 4.0)).round() as u32;
        let columns = u32::try_from(sheet.columns()).unwrap_or(u32::MAX);
        let labels = sheet.labels.iter().map(|label| width_px(label)).max().unwrap_or(0);
        let label_px = match labels.min(LABEL_PX_MAX) {
            0 => 0,
            px => px + MARGIN_PX,
        };
        let cells_px = columns.saturating_mul(thumbnail_px + MARGIN_PX);
        let width = cells_px.saturating_add(MARGIN_PX + label_px);
        let title = wrap(&sheet.title, width - 2 * MARGIN_PX, TITLE_LINES_MAX);
        let heads: Vec<Vec<String>> =
            sheet.heads.iter().map(|head| wrap(head, thumbnail_px, CAPTION_LINES_MAX)).collect();
        let has_captions = sheet.cells.iter().any(|cell| !cell.caption.is_empty());
        let mut layout = Layout {
            width,
            height: 0,
            heads_top: MARGIN_PX + lines_px(title.len()),
            rows_top: 0,
            title,
            label_px,
            thumbnail: (thumbnail_px, height_px),
            caption_lines: if has_captions { CAPTION_LINES_MAX } else { 0 },
            heads,
        };
        let head_lines = layout.heads.iter().map(Vec::len).max().unwrap_or(0);
        layout.rows_top = layout.heads_top + lines_px(head_lines);
        let rows = u32::try_from(sheet.cells.len().div_ceil(sheet.columns())).unwrap_or(u32::MAX);
        layout.height = rows.saturating_mul(layout.row_px()).saturating_add(layout.rows_top);
        layout
    }

    fn row_px(&self) -> u32 {
        self.thumbnail.1 + self.caption_lines as u32 * LINE_PX + MARGIN_PX
    }

    pub fn row_top(&self, row: usize) -> u32 {
        self.rows_top + row as u32 * self.row_px()
    }

    pub fn column_left(&self, column: usize) -> u32 {
        MARGIN_PX + self.label_px + column as u32 * (self.thumbnail.0 + MARGIN_PX)
    }

    pub fn left(&self) -> u32 {
        MARGIN_PX
    }

    pub fn top(&self) -> u32 {
        MARGIN_PX
    }
}

/// So many lines, and the margin under them.
fn lines_px(lines: usize) -> u32 {
    if lines == 0 { 0 } else { lines as u32 * LINE_PX + MARGIN_PX }
}
