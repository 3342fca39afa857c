//! Tables for people: as wide as their cells, or as the terminal.

use std::io::{IsTerminal, stdout};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::moment;

/// Spaces between two columns.
const GAP: usize = 2;

/// A column of text is cut no further than to this width.
const TEXT_WIDTH_MIN: usize = 10;

/// A narrower terminal gets shorter times.
const WIDE_COLUMNS: usize = 100;

/// So much of what people look for is left, as long as other columns can give way to it.
const WANTED_WIDTH: usize = 24;

/// What a column gives up where the table is too wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Give {
    Nothing,
    /// The ends of its texts.
    Ends,
    /// The ends of its texts and, when all else has given way, itself.
    EndsAndAll,
    /// As `EndsAndAll`, and columns of `All` leave already where it has little room.
    Last,
    /// Itself, the last such column first.
    All,
}

/// A column's head, and what it gives up.
pub(super) type TableColumn<'h> = (&'h str, Give);

/// The width of the terminal, or of what `COLUMNS` says in its place; `None` where nobody says one,
/// as in a pipe: programs get everything.
pub(super) fn terminal_width() -> Option<usize> {
    let of_terminal =
        || rustix::termios::tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into());
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width: Option<usize> = if stdout().is_terminal() { of_terminal() } else { told() };
    width.filter(|width| *width > 0)
}

/// Whether there is less room than for whole times beside names and prompts.
pub(super) fn is_narrow(width: Option<usize>) -> bool {
    width.is_some_and(|width| width < WIDE_COLUMNS)
}

/// Whether no line is wider than the terminal.
pub(super) fn fits(text: &str, width_max: Option<usize>) -> bool {
    width_max.is_none_or(|width_max| text.lines().all(|line| line.width() <= width_max))
}

/// The rows under their heads, no wider than `width_max` as far as the columns give way. A column
/// that is empty is left out, but for the first.
pub(super) fn table(
    columns: &[TableColumn<'_>],
    rows: &[Vec<String>],
    width_max: Option<usize>,
) -> String {
    let cells_of = |column: usize| rows.iter().map(move |row| row[column].as_str());
    let mut shown: Vec<Shown<'_>> = columns
        .iter()
        .enumerate()
        .filter(|(index, _)| {
            rows.is_empty() || *index == 0 || cells_of(*index).any(|it| !it.is_empty())
        })
        .map(|(index, &(head, give))| {
            let width = cells_of(index).chain([head]).map(UnicodeWidthStr::width).max();
            Shown { index, head, give, width: width.unwrap_or(0) }
        })
        .collect();
    if let Some(width_max) = width_max {
        fit(&mut shown, width_max);
    }
    let heads = line(&shown, |column| column.head);
    let lines = rows.iter().map(|row| line(&shown, |column| row[column.index].as_str()));
    std::iter::once(heads).chain(lines).collect::<Vec<_>>().join("\n")
}

/// The table, and below it by which clock its times are: `moments` stand under these heads, as far
/// as the table has them.
pub(super) fn with_zone<'m>(
    table: String,
    moments: impl IntoIterator<Item = (&'m str, i64)>,
) -> String {
    let heads: Vec<&str> =
        table.lines().next().map(|heads| heads.split_whitespace().collect()).unwrap_or_default();
    let shown = moments.into_iter().filter(|(head, _)| heads.contains(head));
    match moment::zones(shown.map(|(_, at_ms)| at_ms)) {
        zones if zones.is_empty() => table,
        zones => format!("{table}\n\ntimes are in {zones}"),
    }
}

/// A column that is shown.
struct Shown<'h> {
    /// Among all columns.
    index: usize,
    head: &'h str,
    give: Give,
    width: usize,
}

impl Shown<'_> {
    fn width_min(&self) -> usize {
        match self.give {
            Give::Ends | Give::EndsAndAll | Give::Last => self.width.min(TEXT_WIDTH_MIN),
            Give::Nothing | Give::All => self.width,
        }
    }
}

fn fit(shown: &mut Vec<Shown<'_>>, width_max: usize) {
    let wanted = |column: &Shown<'_>| match column.give {
        Give::Last => column.width.min(WANTED_WIDTH),
        _ => column.width_min(),
    };
    while needed(shown, wanted) > width_max
        && let Some(place) = shown.iter().rposition(|column| column.give == Give::All)
    {
        shown.remove(place);
    }
    while needed(shown, |column| column.width_min()) > width_max {
        let last = |give| shown.iter().rposition(|column| column.give == give);
        let Some(place) = last(Give::EndsAndAll).or_else(|| last(Give::Last)) else { break };
        shown.remove(place);
    }
    // Each turn takes one from the widest, so it ends.
    while needed(shown, |column| column.width) > width_max {
        let widest = shown.iter_mut().filter(|column| column.width > column.width_min());
        let Some(widest) = widest.max_by_key(|column| column.width) else { break };
        widest.width -= 1;
    }
}

fn needed(shown: &[Shown<'_>], width: impl Fn(&Shown<'_>) -> usize) -> usize {
    shown.iter().map(width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

fn line<'c>(shown: &[Shown<'c>], cell: impl Fn(&Shown<'c>) -> &'c str) -> String {
    let mut line = String::new();
    for column in shown {
        let text = cut(cell(column), column.width);
        let padding = column.width - text.width() + GAP;
        line += &format!("{text}{:padding$}", "");
    }
    line.trim_end().to_owned()
}

/// The text in at most so many columns, with a mark where its end is missing.
pub(super) fn cut(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut width = 1;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width <= width_max
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [TableColumn<'static>; 4] =
        [("job", Give::Nothing), ("tags", Give::All), ("ended", Give::All), ("file", Give::Ends)];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![
            row(["1", "", "12:00", "一只可爱的橘色猫咪，窗台，阳光.toml"]),
            row(["23", "", "", "fox.toml"]),
        ]
    }

    // newcomer 36
    #[test]
    fn a_table_heeds_the_width_and_leaves_out_what_is_empty() {
        let whole = table(&COLUMNS, &rows(), None);
        assert_eq!(whole.lines().next(), Some("job  ended  file"));
        assert!(whole.contains("阳光.toml"));
        for width in [20, 30, 40] {
            let fitted = table(&COLUMNS, &rows(), Some(width));
            assert!(fitted.lines().all(|line| line.width() <= width), "{width}:\n{fitted}");
            assert!(fitted.contains('…') && fitted.contains("fox.toml"), "{fitted}");
            assert_eq!(fitted.contains("ended"), width >= 22, "{fitted}");
        }
    }

    // newcomer 15
    #[test]
    fn only_times_that_are_shown_have_a_zone() {
        let shown = table(&COLUMNS, &rows(), None);
        assert!(with_zone(shown.clone(), [("ended", 0)]).contains("\n\ntimes are in "));
        for none in [vec![], vec![("accepted", 0)]] {
            assert_eq!(with_zone(shown.clone(), none), shown);
        }
    }

    #[test]
    fn a_wide_character_is_cut_whole() {
        assert_eq!(cut("狐狸狐狸", 8), "狐狸狐狸");
        assert_eq!(cut("狐狸狐狸", 6), "狐狸…");
        assert_eq!(cut("fox", 2), "f…");
    }
}
