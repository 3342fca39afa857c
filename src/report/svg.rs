//! Drawings: bars, stacked or side by side, and a curve with levels. They stand by themselves, on
//! a page and in files.

use maud::{Markup, html};

/// The drawing, in units of its own, and the room for its numbers and names.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 28.0;
/// Of one line of the legend, and of a letter in it.
const LINE: f64 = 18.0;
const LETTER: f64 = 7.0;

/// Colours that differ in brightness, too.
const COLOURS: [&str; 6] = ["#0b3c7d", "#e07b00", "#2a9d8f", "#b5bdc9", "#8c2d5e", "#6b8e23"];

/// Values of one kind, one for each group; `None` where there is none.
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A value that is marked across a curve.
pub struct Level {
    pub name: String,
    pub value: f64,
}

/// How bars of a group stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bars {
    Stacked,
    Beside,
}

/// Bars for each group, upwards from zero; `unit` stands at the axis.
pub fn bars(title: &str, kind: Bars, groups: &[String], series: &[Series], unit: &str) -> Markup {
    let value = |one: &Series, group: usize| one.values.get(group).copied().flatten();
    let column =
        |group: usize| series.iter().filter_map(|one| value(one, group)).collect::<Vec<_>>();
    let height = |group: usize| match kind {
        Bars::Stacked => column(group).iter().sum(),
        Bars::Beside => column(group).into_iter().fold(0.0, f64::max),
    };
    let most = (0..groups.len()).map(height).fold(0.0, f64::max).max(1e-9);
    let slot = WIDTH / groups.len().max(1) as f64;
    let bar = slot * 0.8 / if kind == Bars::Stacked { 1.0 } else { series.len().max(1) as f64 };
    let names: Vec<&str> = series.iter().map(|one| one.name.as_str()).collect();
    let content = html! {
        @for (group, name) in groups.iter().enumerate() {
            @let left = slot * (group as f64 + 0.1);
            text x=(unit_of(slot * (group as f64 + 0.5))) y=(HEIGHT + 18.0) text-anchor="middle" {
                (name)
            }
            @for (place, one) in series.iter().enumerate() {
                @if let Some(own) = value(one, group) {
                    @let below: f64 = series[..place].iter().filter_map(|one| value(one, group)).sum();
                    @let (x, base) = match kind {
                        Bars::Stacked => (left, below),
                        Bars::Beside => (left + bar * place as f64, 0.0),
                    };
                    @let top = HEIGHT - HEIGHT * (base + own) / most;
                    rect x=(unit_of(x)) y=(unit_of(top)) width=(unit_of(bar))
                        height=(unit_of(HEIGHT * own / most)) fill=(colour(place)) {
                        title { (name) ", " (one.name) ": " (figure(own)) " " (unit) }
                    }
                }
            }
        }
    };
    frame(title, &names, &format!("{} {unit}", figure(most)), &content)
}

/// A curve of points (x, y) from zero upwards, with `levels` across it; `units` of x and y.
pub fn curve(title: &str, points: &[(f64, f64)], levels: &[Level], units: (&str, &str)) -> Markup {
    let heights = points.iter().map(|point| point.1).chain(levels.iter().map(|level| level.value));
    let most = heights.fold(0.0, f64::max).max(1e-9);
    let last = points.last().map_or(1.0, |point| point.0).max(1e-9);
    let place = |(x, y): (f64, f64)| {
        format!("{},{}", unit_of(WIDTH * x / last), unit_of(HEIGHT - HEIGHT * y / most))
    };
    let line: Vec<String> = points.iter().map(|point| place(*point)).collect();
    let measured = std::iter::once("measured");
    let names: Vec<&str> = measured.chain(levels.iter().map(|level| level.name.as_str())).collect();
    let content = html! {
        polyline points=(line.join(" ")) fill="none" stroke=(colour(0)) stroke-width="1.5" {}
        @for (number, level) in levels.iter().enumerate() {
            @let y = unit_of(HEIGHT - HEIGHT * level.value / most);
            line x1="0" y1=(y) x2=(WIDTH) y2=(y) stroke=(colour(number + 1)) stroke-dasharray="6 4" {
                title { (level.name) ": " (figure(level.value)) " " (units.1) }
            }
        }
        text x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" { (figure(last)) " " (units.0) }
    };
    frame(title, &names, &format!("{} {}", figure(most), units.1), &content)
}

/// The axes, the highest value beside them, and what the colours mean.
fn frame(title: &str, names: &[&str], highest: &str, content: &Markup) -> Markup {
    let marks = legend(names);
    let lines = marks.last().map_or(0.0, |mark| mark.1 / LINE + 1.0);
    let (width, height) = (LEFT + WIDTH + 16.0, TOP + HEIGHT + BOTTOM + lines * LINE + 8.0);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}"))
            width=(width) height=(height) role="img" aria-label=(title)
            font-family="system-ui, sans-serif" font-size="12" fill="#1d2330" {
            title { (title) }
            rect width=(width) height=(height) fill="#fff" {}
            g transform={ "translate(" (LEFT) " " (TOP) ")" } {
                (content)
                path d=(format!("M0 0V{HEIGHT}H{WIDTH}")) fill="none" stroke="#565f70" {}
                text x="-6" y="10" text-anchor="end" { (highest) }
                text x="-6" y=(HEIGHT) text-anchor="end" { "0" }
                g transform={ "translate(0 " (HEIGHT + BOTTOM) ")" } {
                    @for (place, (name, (x, y))) in names.iter().zip(&marks).enumerate() {
                        rect x=(unit_of(*x)) y=(y) width="12" height="12" fill=(colour(place)) {}
                        text x=(unit_of(x + 18.0)) y=(y + 10.0) { (name) }
                    }
                }
            }
        }
    }
}

/// Where each name of the legend stands; a line is full where the drawing ends.
fn legend(names: &[&str]) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (0.0, 0.0);
    let mut places = Vec::new();
    for name in names {
        let width = 36.0 + LETTER * name.chars().count() as f64;
        if x > 0.0 && x + width > WIDTH {
            (x, y) = (0.0, y + LINE);
        }
        places.push((x, y));
        x += width;
    }
    places
}

fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// A tenth of a unit is less than anybody sees.
fn unit_of(place: f64) -> String {
    format!("{:.1}", if place.is_finite() { place } else { 0.0 })
}

/// Three digits of a value.
fn figure(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(svg: &str, mark: &str) -> usize {
        svg.matches(mark).count()
    }

    fn series(name: &str, values: [Option<f64>; 2]) -> Series {
        Series { name: name.to_owned(), values: values.to_vec() }
    }

    #[test]
    fn bars_are_stacked_on_each_other_or_stand_side_by_side() {
        let groups = ["a".to_owned(), "b<".to_owned()];
        let values = [series("x", [Some(1.0), None]), series("y", [Some(3.0), Some(2.0)])];
        let stacked = bars("t", Bars::Stacked, &groups, &values, "s").into_string();
        // Three bars, two marks of the legend, and the ground.
        assert_eq!(count(&stacked, "<rect"), 6, "{stacked}");
        assert!(stacked.contains("4.00 s") && stacked.contains("b&lt;"), "{stacked}");
        // The second one stands on the first, and both fill the height.
        assert!(stacked.contains(r#"y="180.0" width="256.0" height="60.0""#), "{stacked}");
        assert!(stacked.contains(r#"y="0.0" width="256.0" height="180.0""#), "{stacked}");
        let beside = bars("t", Bars::Beside, &groups, &values, "s").into_string();
        assert!(beside.contains("3.00 s") && beside.contains(r#"width="128.0""#), "{beside}");
    }

    #[test]
    fn a_curve_ends_at_its_edges_and_levels_lie_across() {
        let levels = [Level { name: "predicted".to_owned(), value: 4.0 }];
        let svg = curve("t", &[(0.0, 1.0), (2.0, 2.0)], &levels, ("s", "GiB")).into_string();
        assert!(svg.contains(r#"points="0.0,180.0 640.0,120.0""#), "{svg}");
        assert!(svg.contains(r#"y1="0.0""#) && svg.contains("4.00 GiB"), "{svg}");
        let empty = curve("t", &[], &[], ("s", "GiB")).into_string();
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }

    #[test]
    fn a_long_legend_has_several_lines() {
        let name = "x".repeat(40);
        let places = legend(&[&name, &name, &name]);
        assert_eq!(places, [(0.0, 0.0), (316.0, 0.0), (0.0, LINE)]);
    }
}
