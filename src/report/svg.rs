//! Drawings: bars, stacked or side by side, and a curve with levels. They stand by themselves, on
//! a page and in files.

use maud::{Markup, PreEscaped, html};

/// The drawing, in units of its own, and the room for its numbers and names.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 28.0;
/// Of one line of the legend, and of a letter in it.
const LINE: f64 = 18.0;
const LETTER: f64 = 7.0;

/// So many steps an axis has at most.
const STEPS_MAX: f64 = 5.0;

/// Classes of [`STYLE`], whose colours differ in brightness, too.
const COLOURS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// By light and in the dark; drawings stand on pages of both kinds.
const STYLE: &str = "\
svg{color:#1d2330;background:#fff}.axis{stroke:#7a8496}.grid{stroke:#e3e6ec}\
.c0{color:#0b3c7d}.c1{color:#e07b00}.c2{color:#2a9d8f}.c3{color:#8f99a8}.c4{color:#8c2d5e}\
.c5{color:#6b8e23}@media(prefers-color-scheme:dark){svg{color:#d9dee7;background:#171b22}\
.axis{stroke:#7a8496}.grid{stroke:#2b313c}.c0{color:#6ea8fe}.c3{color:#7d8796}.c4{color:#d77fae}\
.c5{color:#a5c65b}}";

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
    let axis = Axis::to((0..groups.len()).map(height).fold(0.0, f64::max));
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
                    rect class=(colour(place)) fill="currentColor" x=(unit_of(x))
                        y=(unit_of(axis.place(base + own))) width=(unit_of(bar))
                        height=(unit_of(HEIGHT - axis.place(own))) {
                        title { (name) ", " (one.name) ": " (figure(own)) " " (unit) }
                    }
                    @if kind == Bars::Beside { (above(x + bar / 2.0, axis.place(own), own)) }
                }
            }
            @if kind == Bars::Stacked && height(group) > 0.0 {
                (above(left + bar / 2.0, axis.place(height(group)), height(group)))
            }
        }
    };
    frame(title, &names, (&axis, unit), &content)
}

/// The value of a bar, over it.
fn above(middle: f64, top: f64, value: f64) -> Markup {
    html! {
        text x=(unit_of(middle)) y=(unit_of(top - 4.0)) text-anchor="middle" font-size="10" {
            (figure(value))
        }
    }
}

/// A curve of points (x, y) from zero upwards, with `levels` across it; `units` of x and y.
pub fn curve(title: &str, points: &[(f64, f64)], levels: &[Level], units: (&str, &str)) -> Markup {
    let heights = points.iter().map(|point| point.1).chain(levels.iter().map(|level| level.value));
    let axis = Axis::to(heights.fold(0.0, f64::max));
    let last = points.last().map_or(1.0, |point| point.0).max(1e-9);
    let place =
        |(x, y): (f64, f64)| format!("{},{}", unit_of(WIDTH * x / last), unit_of(axis.place(y)));
    let line: Vec<String> = points.iter().map(|point| place(*point)).collect();
    let measured = std::iter::once("measured");
    let names: Vec<&str> = measured.chain(levels.iter().map(|level| level.name.as_str())).collect();
    let content = html! {
        polyline class=(colour(0)) points=(line.join(" ")) fill="none" stroke="currentColor"
            stroke-width="1.5" {}
        @for (number, level) in levels.iter().enumerate() {
            @let y = unit_of(axis.place(level.value));
            line class=(colour(number + 1)) x1="0" y1=(y) x2=(WIDTH) y2=(y) stroke="currentColor"
                stroke-width="1.5" stroke-dasharray="6 4" {
                title { (level.name) ": " (figure(level.value)) " " (units.1) }
            }
        }
        text x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" { (figure(last)) " " (units.0) }
    };
    frame(title, &names, (&axis, units.1), &content)
}

/// Upwards from zero, in steps that people count in.
struct Axis {
    step: f64,
    steps: u32,
}

impl Axis {
    /// With room for `most`.
    fn to(most: f64) -> Axis {
        let most = if most.is_finite() { most.max(1e-9) } else { 1.0 };
        let power = 10_f64.powf((most / STEPS_MAX).log10().floor());
        let nice = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = nice.into_iter().find(|step| most / step <= STEPS_MAX).unwrap_or(nice[3]);
        Axis { step, steps: (most / step).ceil().max(1.0) as u32 }
    }

    /// How far below the top a value stands.
    fn place(&self, value: f64) -> f64 {
        HEIGHT - HEIGHT * value / (self.step * f64::from(self.steps))
    }

    fn label(&self, number: u32) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{:.decimals$}", self.step * f64::from(number))
    }
}

/// The axes with their steps, and what the colours mean.
fn frame(title: &str, names: &[&str], (axis, unit): (&Axis, &str), content: &Markup) -> Markup {
    let marks = legend(names);
    let lines = marks.last().map_or(0.0, |mark| mark.1 / LINE + 1.0);
    let (width, height) = (LEFT + WIDTH + 16.0, TOP + HEIGHT + BOTTOM + lines * LINE + 8.0);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}"))
            width=(width) height=(height) role="img" aria-label=(title)
            font-family="system-ui, sans-serif" font-size="12" fill="currentColor" {
            title { (title) }
            style { (PreEscaped(STYLE)) }
            g transform={ "translate(" (LEFT) " " (TOP) ")" } {
                @for number in 0..=axis.steps {
                    @let y = axis.place(axis.step * f64::from(number));
                    line.grid x1="0" y1=(unit_of(y)) x2=(WIDTH) y2=(unit_of(y)) {}
                    text x="-6" y=(unit_of(y + 4.0)) text-anchor="end" {
                        (axis.label(number)) @if number == axis.steps { " " (unit) }
                    }
                }
                (content)
                path.axis d=(format!("M0 0V{HEIGHT}H{WIDTH}")) fill="none" {}
                g transform={ "translate(0 " (HEIGHT + BOTTOM) ")" } {
                    @for (place, (name, (x, y))) in names.iter().zip(&marks).enumerate() {
                        rect class=(colour(place)) fill="currentColor" x=(unit_of(*x)) y=(y)
                            width="12" height="12" {}
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
        // Three bars, and two marks of the legend.
        assert_eq!(count(&stacked, "<rect"), 5, "{stacked}");
        assert!(stacked.contains("4 s") && stacked.contains("b&lt;"), "{stacked}");
        // What a whole bar says.
        assert!(stacked.contains(">4.00</text>") && !stacked.contains(">1.00</text>"), "{stacked}");
        // The second one stands on the first, and both fill the height.
        assert!(stacked.contains(r#"y="180.0" width="256.0" height="60.0""#), "{stacked}");
        assert!(stacked.contains(r#"y="0.0" width="256.0" height="180.0""#), "{stacked}");
        let beside = bars("t", Bars::Beside, &groups, &values, "s").into_string();
        assert!(beside.contains(">3.00</text>") && beside.contains(r#"width="128.0""#), "{beside}");
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
    fn an_axis_has_few_steps_that_people_count_in() {
        let labels = |most: f64| {
            let axis = Axis::to(most);
            (0..=axis.steps).map(|number| axis.label(number)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(18.7), "0 5 10 15 20");
        assert_eq!(labels(1.52), "0.0 0.5 1.0 1.5 2.0");
        assert_eq!(labels(0.26), "0.0 0.1 0.2 0.3");
        assert_eq!(labels(250.0), "0 50 100 150 200 250");
        assert_eq!(Axis::to(f64::INFINITY).steps, 5);
    }

    #[test]
    fn a_long_legend_has_several_lines() {
        let name = "x".repeat(40);
        let places = legend(&[&name, &name, &name]);
        assert_eq!(places, [(0.0, 0.0), (316.0, 0.0), (0.0, LINE)]);
    }
}
