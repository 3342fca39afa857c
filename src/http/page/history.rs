//! How long pictures took over time, by their size, and when memory ran out between them; how many
//! were made on each day.

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};

use super::super::app::App;
use super::super::problem::HttpProblem;
use super::grid::picture_link;
use super::layout::{PageKind, page};
use super::table::{cell, number};
use super::visitor::Visitor;
use super::words::Words;
use crate::moment;
use crate::store::{DayRow, Fall, SpeedRow};

/// So many of the newest pictures are drawn.
const PICTURES_MAX: u32 = 400;

/// So many of them are in the table.
const ROWS_MAX: usize = 60;

/// So many days are told.
const DAYS_MAX: u32 = 30;

/// So many falls are drawn.
const FALLS_MAX: u32 = 100;

/// So many sizes have marks of their own; the rest shares the last one.
const MARKS: usize = 5;

/// The drawing, in units of its own, and the room for its numbers.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 60.0;

/// Of a mark.
const RADIUS: f64 = 4.0;

pub async fn history(State(app): State<App>, visitor: Visitor) -> Result<Markup, HttpProblem> {
    let words = visitor.words;
    let speeds = app.store().speeds(PICTURES_MAX).await?;
    let falls = app.store().falls(FALLS_MAX).await?;
    let days = app.store().days(DAYS_MAX).await?;
    // Where older pictures are not drawn, their falls would stand left of the drawing.
    let oldest = speeds.last().filter(|_| speeds.len() as u32 == PICTURES_MAX);
    let is_drawn = |fall: &Fall| oldest.is_none_or(|oldest| fall.at_ms >= oldest.at_ms);
    let falls: Vec<Fall> = falls.into_iter().filter(is_drawn).collect();
    let content = html! {
        h1 { (words.history) }
        p { a href="api/v1/stats/history.csv?limit=10000" download="" { (words.as_csv) } }
        section.card {
            h2 { (words.seconds_title) }
            @match Drawing::of(&speeds, &falls) {
                Some(drawing) => { (drawing.shown(words)) (table(words, &speeds)) }
                None => p.quiet { (words.none_yet) },
            }
        }
        @if !days.is_empty() {
            section.card { h2 { (words.by_day) } (days_told(words, &days)) }
        }
    };
    page(&app, visitor, PageKind::History, content).await
}

/// The marks of the drawing, with what they are drawn from.
struct Drawing<'a> {
    speeds: &'a [SpeedRow],
    falls: &'a [Fall],
    /// The mark of each size, the most frequent size first.
    marks: BTreeMap<(i64, i64), usize>,
    first_ms: i64,
    last_ms: i64,
    most_ms: i64,
}

impl<'a> Drawing<'a> {
    fn of(speeds: &'a [SpeedRow], falls: &'a [Fall]) -> Option<Drawing<'a>> {
        let mut counted: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for speed in speeds {
            *counted.entry((speed.width, speed.height)).or_default() += 1;
        }
        let mut sizes: Vec<_> = counted.into_iter().collect();
        sizes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let marks = sizes.into_iter().enumerate();
        let marks = marks.map(|(mark, (size, _))| (size, mark.min(MARKS - 1))).collect();
        let moments = || speeds.iter().map(|speed| speed.at_ms);
        let (first_ms, last_ms) = (moments().min()?, moments().max()?);
        let most_ms = speeds.iter().map(|speed| speed.total_ms).max()?.max(1);
        Some(Drawing { speeds, falls, marks, first_ms, last_ms, most_ms })
    }

    fn x(&self, at_ms: i64) -> f64 {
        let all_ms = (self.last_ms - self.first_ms).max(1) as f64;
        (WIDTH * (at_ms - self.first_ms) as f64 / all_ms).clamp(0.0, WIDTH)
    }

    fn y(&self, total_ms: i64) -> f64 {
        HEIGHT - HEIGHT * total_ms as f64 / self.most_ms as f64
    }

    fn shown(&self, words: &Words) -> Markup {
        let view = format!("0 0 {} {}", WIDTH + MARGIN + 10.0, HEIGHT + MARGIN + 10.0);
        html! {
            // A group and no picture: what is in a picture cannot be pressed.
            div.scroll { svg.wide viewBox=(view) width=(WIDTH + MARGIN) role="group"
                aria-label=(words.seconds_title) {
                g transform={ "translate(" (MARGIN) " 10)" } {
                    line.axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                    line.axis x1="0" y1="0" x2="0" y2=(HEIGHT) {}
                    @for fall in self.falls {
                        @let x = self.x(fall.at_ms);
                        line.fall x1=(x) y1="0" x2=(x) y2=(HEIGHT) { title { (fall.rung) } }
                    }
                    @for speed in self.speeds { (self.mark(speed)) }
                    text x="-4" y="10" text-anchor="end" { (words.hundredths(self.most_ms)) }
                    text x="-4" y=(HEIGHT) text-anchor="end" { "0 " (words.units.seconds) }
                    text x="0" y=(HEIGHT + 18.0) { (moment::date_and_time(self.first_ms)) }
                    text x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" {
                        (moment::date_and_time(self.last_ms))
                    }
                }
            } }
            (self.legend(words))
        }
    }

    fn mark(&self, speed: &SpeedRow) -> Markup {
        let (x, y) = (self.x(speed.at_ms), self.y(speed.total_ms));
        let mark = self.marks.get(&(speed.width, speed.height)).copied().unwrap_or(MARKS - 1);
        html! {
            a href={ "picture?job=" (speed.job) "&n=" (speed.picture) }
                tabindex="-1" aria-hidden="true" { (symbol(mark, (x, y))) }
        }
    }

    fn legend(&self, words: &Words) -> Markup {
        let mut sizes: Vec<_> = self.marks.iter().collect();
        sizes.sort_by_key(|(_, mark)| **mark);
        html! {
            p.row.quiet {
                @for ((width, height), mark) in sizes {
                    span {
                        svg width="12" height="12" aria-hidden="true" {
                            (symbol(*mark, (6.0, 6.0)))
                        }
                        " " (width) "×" (height)
                    }
                }
                @if !self.falls.is_empty() { span { b.fallen { "|" } " " (words.falls) } }
            }
        }
    }
}

/// Sizes differ by form and not by colour alone.
fn symbol(mark: usize, (x, y): (f64, f64)) -> Markup {
    let r = RADIUS;
    let path = match mark {
        0 => return html! { circle.point cx=(x) cy=(y) r=(r) {} },
        1 => format!("M{} {}h{}v{}h-{}z", x - r, y - r, 2.0 * r, 2.0 * r, 2.0 * r),
        2 => format!("M{x} {}L{} {}H{}z", y - r, x + r, y + r, x - r),
        3 => format!("M{x} {}L{} {y}L{x} {}L{} {y}z", y - r, x + r, y + r, x - r),
        _ => format!("M{} {}H{}L{x} {}z", x - r, y - r, x + r, y + r),
    };
    html! { path.point d=(path) {} }
}

/// The same for whoever sees no drawing.
fn table(words: &Words, speeds: &[SpeedRow]) -> Markup {
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.begun) } th { (words.job) } th { (words.size) }
                th.number { (words.steps) } th.number { (words.seconds) }
            } }
            tbody { @for speed in speeds.iter().take(ROWS_MAX) { tr {
                (cell(words.begun, moment::date_and_time(speed.at_ms)))
                (cell(words.job, picture_link(speed.job, speed.picture)))
                (cell(words.size, format_args!("{}×{}", speed.width, speed.height)))
                (number(words.steps, speed.steps))
                (number(words.seconds, words.hundredths(speed.total_ms)))
            } } }
        } }
    }
}

/// How many pictures were made on each day, as bars with their numbers.
fn days_told(words: &Words, days: &[DayRow]) -> Markup {
    let most = days.iter().map(|day| day.pictures).max().unwrap_or_default();
    html! {
        div.scroll { table.cards {
            thead { tr {
                th { (words.day) } th.number { (words.pictures_column) } th {}
                th.number { (words.busy) }
            } }
            tbody { @for DayRow { day, pictures, busy_ms } in days { tr {
                (cell(words.day, day))
                (number(words.pictures_column, pictures))
                td { meter min="0" max=(most) value=(pictures) aria-label=(day) {} }
                (number(words.busy, words.units.duration(*busy_ms)))
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(at_ms: i64, width: i64, total_ms: i64) -> SpeedRow {
        SpeedRow { job: 1, picture: 1, at_ms, width, height: 64, steps: 8, total_ms }
    }

    #[test]
    fn the_most_frequent_size_has_the_first_mark_and_time_goes_to_the_right() {
        let speeds = [speed(300, 64, 10), speed(200, 64, 20), speed(100, 128, 40)];
        let drawing = Drawing::of(&speeds, &[]).expect("pictures");
        assert_eq!(drawing.marks[&(64, 64)], 0);
        assert_eq!(drawing.marks[&(128, 64)], 1);
        assert_eq!((drawing.x(100), drawing.x(200), drawing.x(300)), (0.0, WIDTH / 2.0, WIDTH));
        assert_eq!((drawing.y(40), drawing.y(10)), (0.0, HEIGHT * 0.75));
        assert!(Drawing::of(&[], &[]).is_none());
        assert!(Drawing::of(&speeds[..1], &[]).is_some_and(|one| one.x(300) == 0.0));
    }
}
