//! Does a picture follow its prompt? The rule of `tools/mini/evaluate.py`, which needs pixels only:
//!
//! 1. Each pixel is given to the nearest of the grammar's colours (squared distance of RGB; the
//!    first wins a tie).
//! 2. The ground is the commonest colour of the outermost four pixels' frame.
//! 3. The shape's colour is the commonest other colour; with less than 0.3 % of the picture's
//!    pixels there is no shape.
//! 4. The shape's place is the mean position of its colour's pixels; it must lie in the case's box,
//!    edges included.
//!
//! Two pictures differ if at least 0.1 % of the pixels are more than 32 levels apart in a channel.

use serde::Deserialize;
use zimaged::internals::Pixels;

const FRAME: u32 = 4;
const LEAST_SHAPE: f64 = 0.003;
const LEAST_DIFFERENCE: f64 = 0.001;
const LEVELS: u8 = 32;

type Colour = [u8; 3];

/// The prompts and what they ask for.
#[derive(Deserialize)]
pub struct Evaluation {
    /// All colours of the grammar.
    pub colours: Vec<Colour>,
    pub cases: Vec<Case>,
}

/// One prompt, and what its picture must show.
#[derive(Clone, Deserialize)]
pub struct Case {
    pub prompt: String,
    pub seed: u64,
    pub width: u32,
    pub height: u32,
    pub shape: Colour,
    pub ground: Colour,
    /// Left, top, right, bottom: where the shape's middle may lie, pixels.
    #[serde(rename = "box")]
    pub place: [f64; 4],
}

/// What is right in one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub ground: bool,
    pub shape: bool,
    pub position: bool,
}

/// Judges one picture by the rule.
pub fn judge(pixels: &Pixels, case: &Case, colours: &[Colour]) -> Judgement {
    let nearest: Vec<usize> =
        pixels.rgb.chunks_exact(3).map(|pixel| nearest(pixel, colours)).collect();
    let places =
        || (0..pixels.height).flat_map(|y| (0..pixels.width).map(move |x| (x, y))).zip(&nearest);
    let frame =
        places().filter(|((x, y), _)| in_frame(*x, pixels.width) || in_frame(*y, pixels.height));
    let ground = commonest(&counts(frame.map(|(_, colour)| *colour), colours.len()));
    let mut others = counts(nearest.iter().copied(), colours.len());
    others[ground] = 0;
    let shape = commonest(&others);
    let ground_right = colours[ground] == case.ground;
    if (others[shape] as f64) < LEAST_SHAPE * nearest.len() as f64 {
        return Judgement { ground: ground_right, shape: false, position: false };
    }
    let of_shape = || places().filter(|(_, colour)| **colour == shape);
    let mean = |sum: u32| f64::from(sum) / others[shape] as f64;
    let x = mean(of_shape().map(|((x, _), _)| x).sum());
    let y = mean(of_shape().map(|((_, y), _)| y).sum());
    let [left, top, right, bottom] = case.place;
    let position = (left..=right).contains(&x) && (top..=bottom).contains(&y);
    Judgement { ground: ground_right, shape: colours[shape] == case.shape, position }
}

/// Whether two pictures of one size are visibly not the same.
pub fn differ(one: &Pixels, other: &Pixels) -> bool {
    let apart = |(a, b): (&[u8], &[u8])| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > LEVELS);
    let pixels = one.rgb.chunks_exact(3).zip(other.rgb.chunks_exact(3));
    pixels.filter(|pair| apart(*pair)).count() as f64
        >= LEAST_DIFFERENCE * (one.rgb.len() / 3) as f64
}

fn nearest(pixel: &[u8], colours: &[Colour]) -> usize {
    let distance = |colour: &Colour| -> u32 {
        colour.iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
    };
    // The first of several least ones, as numpy's argmin.
    (0..colours.len()).min_by_key(|index| distance(&colours[*index])).unwrap()
}

fn in_frame(at: u32, length: u32) -> bool {
    at < FRAME || at >= length - FRAME
}

fn counts(colours: impl Iterator<Item = usize>, length: usize) -> Vec<usize> {
    let mut counts = vec![0; length];
    colours.for_each(|colour| counts[colour] += 1);
    counts
}

/// The first of several greatest ones, as numpy's argmax.
fn commonest(counts: &[usize]) -> usize {
    (0..counts.len()).rev().max_by_key(|index| counts[*index]).unwrap()
}

const RED: Colour = [214, 40, 40];
const BLUE: Colour = [40, 90, 205];
const WHITE: Colour = [250, 250, 250];
const COLOURS: [Colour; 3] = [RED, BLUE, WHITE];
const RIGHT: Judgement = Judgement { ground: true, shape: true, position: true };

/// A square of `side` pixels around (x, y) on a ground, 64x64 in all; a shade off the grammar's
/// colours.
fn scene(shape: Colour, ground: Colour, (x, y): (u32, u32), side: u32) -> Pixels {
    let inside = |at: u32, middle: u32| (middle - side / 2..middle + side - side / 2).contains(&at);
    let colour = |at: u32| if inside(at % 64, x) && inside(at / 64, y) { shape } else { ground };
    let rgb = (0..64 * 64).flat_map(|at| colour(at).map(|level| level - 9)).collect();
    Pixels { width: 64, height: 64, rgb }
}

/// Asks for a red shape at the left of a white ground.
fn case() -> Case {
    let place = [8.0, 24.0, 24.0, 40.0];
    Case { prompt: String::new(), seed: 1, width: 64, height: 64, shape: RED, ground: WHITE, place }
}

#[test]
fn what_was_asked_for_is_right() {
    assert_eq!(judge(&scene(RED, WHITE, (16, 32), 12), &case(), &COLOURS), RIGHT);
}

#[test]
fn each_mistake_is_judged_wrong_and_only_it() {
    for (picture, expected) in [
        (scene(WHITE, RED, (16, 32), 12), Judgement { ground: false, shape: false, ..RIGHT }),
        (scene(BLUE, WHITE, (16, 32), 12), Judgement { shape: false, ..RIGHT }),
        (scene(RED, BLUE, (16, 32), 12), Judgement { ground: false, ..RIGHT }),
        (scene(RED, WHITE, (48, 32), 12), Judgement { position: false, ..RIGHT }),
        (scene(RED, WHITE, (16, 12), 12), Judgement { position: false, ..RIGHT }),
        // 9 of 4096 pixels are less than 0.3 %; 16 are more.
        (scene(RED, WHITE, (16, 32), 3), Judgement { shape: false, position: false, ..RIGHT }),
        (scene(RED, WHITE, (16, 32), 4), RIGHT),
        (scene(WHITE, WHITE, (16, 32), 12), Judgement { shape: false, position: false, ..RIGHT }),
    ] {
        let at = picture.rgb.iter().position(|level| *level != picture.rgb[0]);
        assert_eq!(judge(&picture, &case(), &COLOURS), expected, "first other pixel at {at:?}");
    }
}

#[test]
fn pictures_differ_by_pixels_and_not_by_noise() {
    let picture = scene(RED, WHITE, (16, 32), 12);
    let mut noisy = picture.clone();
    noisy.rgb.iter_mut().for_each(|level| *level = level.saturating_sub(32));
    assert!(!differ(&picture, &picture) && !differ(&picture, &noisy));
    assert!(!differ(&picture, &scene(RED, WHITE, (16, 32), 12)));
    assert!(differ(&picture, &scene(RED, WHITE, (17, 32), 12)));
}
