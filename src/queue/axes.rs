//! What varies among the pictures of a job, and so what the axes of its contact sheet are.

use std::collections::BTreeMap;

use crate::job::AskedPrecision;
use crate::problem::one_line;
use crate::store::HistoryRow;

/// More columns are hardly looked at; such an axis goes down the sheet.
const COLUMNS_MAX: usize = 16;

/// What a parameter says of a picture, as a label.
type LabelOf = fn(&HistoryRow) -> String;

/// Whether a picture asks for something by a parameter: what is not asked for is said only where
/// another picture asks.
type IsAsked = fn(&HistoryRow) -> bool;

/// In the order in which a job's matrix is gone through, the last one fastest.
const PARAMETERS: [(&str, LabelOf, IsAsked); 14] = [
    ("prompt", |row| one_line(row.asked_prompt.as_ref().unwrap_or(&row.prompt)), |_| true),
    ("negative prompt", not, |row| !row.negative_prompt.is_empty()),
    ("size", |row| format!("{}x{}", row.asked_width, row.asked_height), |_| true),
    ("steps", |row| format!("{} steps", row.asked_steps), |_| true),
    ("guidance", |row| format!("guidance {}", row.guidance), |_| true),
    (
        "normalization",
        |row| format!("normalization {}", row.guidance_normalization),
        |row| row.guidance_normalization != 0.0,
    ),
    (
        "truncation",
        |row| format!("truncation {}", row.guidance_truncation),
        |row| row.guidance_truncation != 1.0,
    ),
    ("sampler", |row| row.sampler.word().to_owned(), |_| true),
    (
        "precision",
        |row| format!("precision {}", row.precision.word()),
        |row| row.precision != AskedPrecision::Full,
    ),
    (
        "picture to begin with",
        |row| format!("from {}", beginning(&row.init_image)),
        |row| !row.init_image.is_empty(),
    ),
    ("mask", |row| format!("mask {}", beginning(&row.mask)), |row| !row.mask.is_empty()),
    ("strength", |row| format!("strength {}", row.strength), |row| row.strength != 1.0),
    ("LoRA", |row| row.lora.to_string(), |row| !row.lora.0.is_empty()),
    (SEED, seed, |_| true),
];

/// What its drawn numbers are called.
pub(super) const SEED: &str = "seed";

fn seed(row: &HistoryRow) -> String {
    format!("seed {}", row.seed)
}

fn not(row: &HistoryRow) -> String {
    match row.negative_prompt.as_str() {
        "" => "no negative prompt".to_owned(),
        text => format!("not: {}", one_line(text)),
    }
}

/// As much of a hash as tells it from others; `nothing` of none.
fn beginning(hash: &str) -> &str {
    if hash.is_empty() { "nothing" } else { hash.get(..8).unwrap_or(hash) }
}

/// How pictures are put on a sheet. Its `cells` name pictures by their place in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// What all of the pictures have in common.
    pub common: Vec<String>,
    /// Above the columns; empty where the pictures just follow each other.
    pub heads: Vec<String>,
    /// Before the rows; empty as `heads`.
    pub labels: Vec<String>,
    /// How many columns there are.
    pub columns: usize,
    /// Row by row; `None` where the job has no picture.
    pub cells: Vec<Option<usize>>,
    /// Under each picture.
    pub captions: Vec<String>,
}

/// Values of one parameter.
pub(super) struct Axis {
    /// Each value once, in the order in which it comes.
    pub(super) values: Vec<String>,
    /// For each picture the place of its value.
    pub(super) places: Vec<usize>,
}

impl Axis {
    fn of(pictures: &[HistoryRow], label: LabelOf) -> Axis {
        let mut known = BTreeMap::new();
        let mut axis = Axis { values: Vec::new(), places: Vec::new() };
        for text in pictures.iter().map(label) {
            let place = *known.entry(text.clone()).or_insert(axis.values.len());
            if place == axis.values.len() {
                axis.values.push(text);
            }
            axis.places.push(place);
        }
        axis
    }

    fn varies(&self) -> bool {
        self.values.len() > 1
    }
}

/// A parameter that is not the same in all of the pictures.
pub(super) struct Varied {
    pub(super) name: &'static str,
    /// Whether it has a column of its own wherever pictures are listed: prompt, size and steps.
    pub(super) has_column: bool,
    pub(super) axis: Axis,
}

/// What varies among the pictures, in the order of [`PARAMETERS`].
pub(super) fn varying(pictures: &[HistoryRow]) -> Vec<Varied> {
    let of = |(name, label, _): &(&'static str, LabelOf, IsAsked)| Varied {
        name,
        has_column: matches!(*name, "prompt" | "size" | "steps"),
        axis: Axis::of(pictures, *label),
    };
    PARAMETERS.iter().map(of).filter(|varied| varied.axis.varies()).collect()
}

/// A grid where every combination of what varies is there once, else one picture after the other,
/// each with what sets it apart under it.
pub(super) fn arrange(pictures: &[HistoryRow]) -> Arrangement {
    arranged(pictures, |varying| {
        grid(pictures, varying).unwrap_or_else(|| row_by_row(pictures, varying))
    })
}

/// One picture after the other, each with what sets it apart under it.
pub(super) fn in_order(pictures: &[HistoryRow]) -> Arrangement {
    arranged(pictures, |varying| row_by_row(pictures, varying))
}

fn arranged(
    pictures: &[HistoryRow],
    arrangement: impl FnOnce(&[Axis]) -> Arrangement,
) -> Arrangement {
    let axes = PARAMETERS.map(|(_, label, is_asked)| (Axis::of(pictures, label), is_asked));
    let (varying, fixed): (Vec<_>, Vec<_>) = axes.into_iter().partition(|(axis, _)| axis.varies());
    let varying: Vec<Axis> = varying.into_iter().map(|(axis, _)| axis).collect();
    let asked = fixed.into_iter().filter(|(_, is_asked)| pictures.first().is_some_and(is_asked));
    let common = asked.filter_map(|(axis, _)| axis.values.into_iter().next()).collect();
    let mut arranged = arrangement(&varying);
    for (picture, caption) in pictures.iter().zip(&mut arranged.captions) {
        *caption = with_choice(picture, caption);
    }
    Arrangement { common, ..arranged }
}

/// The caption of a picture, behind what was chosen in its prompt: that sets it apart.
fn with_choice(picture: &HistoryRow, caption: &str) -> String {
    match &picture.asked_prompt {
        Some(_) if caption.is_empty() => one_line(&picture.prompt),
        Some(_) => format!("{}, {caption}", one_line(&picture.prompt)),
        None => caption.to_owned(),
    }
}

/// `None` where the pictures are no full grid.
fn grid(pictures: &[HistoryRow], varying: &[Axis]) -> Option<Arrangement> {
    let combinations =
        |axes: &[Axis]| -> usize { axes.iter().map(|axis| axis.values.len()).product() };
    let (last, others) = varying.split_last()?;
    if others.is_empty() {
        return None;
    }
    if combinations(varying) == pictures.len() {
        return match last.values.len() {
            ..=COLUMNS_MAX => crossed(pictures.len(), last, others),
            _ => {
                let (first, others) = varying.split_first()?;
                (first.values.len() <= COLUMNS_MAX)
                    .then(|| crossed(pictures.len(), first, others))?
            }
        };
    }
    // Seeds that were drawn: each picture has its own, and so many belong to each combination.
    let drawn = last.values.len() == pictures.len();
    let repeats = pictures.len() / combinations(others);
    let is_even = drawn && pictures.len() == combinations(others) * repeats;
    // One long column is hardly looked at, either.
    let is_column = repeats == 1 && pictures.len() > COLUMNS_MAX;
    if !is_even || is_column || !(1..=COLUMNS_MAX).contains(&repeats) {
        return None;
    }
    let columns = Axis {
        values: (1..=repeats).map(|number| format!("picture {number}")).collect(),
        places: repeat_of_each(pictures.len(), others),
    };
    let mut arranged = crossed(pictures.len(), &columns, others)?;
    arranged.captions = pictures.iter().map(seed).collect();
    Some(arranged)
}

/// For each picture how many before it are equal to it but for the seed.
fn repeat_of_each(pictures: usize, others: &[Axis]) -> Vec<usize> {
    let mut seen: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let mut number = |picture| {
        let repeats = seen.entry(key(others, picture)).or_default();
        *repeats += 1;
        *repeats - 1
    };
    (0..pictures).map(&mut number).collect()
}

fn key(axes: &[Axis], picture: usize) -> Vec<usize> {
    axes.iter().map(|axis| axis.places[picture]).collect()
}

/// `columns` across, all combinations of the others down; `None` where two pictures would lie at
/// the same place.
fn crossed(pictures: usize, columns: &Axis, others: &[Axis]) -> Option<Arrangement> {
    let width = columns.values.len();
    let mut rows: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    let mut arranged = Arrangement {
        heads: columns.values.clone(),
        columns: width,
        captions: vec![String::new(); pictures],
        ..Arrangement::default()
    };
    for picture in 0..pictures {
        let next = rows.len();
        let row = *rows.entry(key(others, picture)).or_insert(next);
        if row == arranged.labels.len() {
            arranged.labels.push(values(others, picture));
            arranged.cells.extend(std::iter::repeat_n(None, width));
        }
        let cell = arranged.cells.get_mut(row * width + columns.places[picture])?;
        if cell.replace(picture).is_some() {
            return None;
        }
    }
    Some(arranged)
}

fn values(axes: &[Axis], picture: usize) -> String {
    let values = axes.iter().map(|axis| axis.values[axis.places[picture]].as_str());
    values.collect::<Vec<_>>().join(", ")
}

fn row_by_row(pictures: &[HistoryRow], varying: &[Axis]) -> Arrangement {
    let columns = (1..).find(|side| side * side >= pictures.len()).unwrap_or(1);
    Arrangement {
        columns,
        cells: (0..pictures.len()).map(Some).collect(),
        captions: (0..pictures.len()).map(|picture| values(varying, picture)).collect(),
        ..Arrangement::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::SamplerKind;
    use crate::job::lora::Loras;
    use crate::job::state::State;

    fn row(prompt: &str, guidance: f64, seed: i64) -> HistoryRow {
        HistoryRow {
            job: 1,
            picture: 1,
            state: State::Done,
            stopping: false,
            priority: 0,
            degraded: false,
            starred: false,
            prompt: prompt.to_owned(),
            asked_prompt: None,
            negative_prompt: String::new(),
            seed,
            guidance,
            guidance_normalization: 0.0,
            guidance_truncation: 1.0,
            lora: Loras::default(),
            sampler: SamplerKind::Euler,
            precision: AskedPrecision::Full,
            init_image: String::new(),
            mask: String::new(),
            strength: 1.0,
            asked_width: 512,
            asked_height: 512,
            asked_steps: 8,
            width: None,
            height: None,
            steps: None,
            rung: None,
            attempts: 1,
            queued_s: None,
            text_encode_s: None,
            denoise_s: None,
            vae_decode_s: None,
            picture_encode_s: None,
            total_s: None,
            peak_bytes: None,
            joules: None,
            mean_watts: None,
            peak_watts: None,
            temperature_max_celsius: None,
            clock_mhz: None,
            slowed_by: None,
            path: None,
            bytes: None,
            sha256: None,
            error_code: None,
            error: None,
            cancel_reason: None,
            device: None,
            model_key: String::new(),
            model: None,
            model_hash: None,
            parts: Default::default(),
            prompt_cut: None,
            accepted_at_ms: 0,
            run_after_ms: 0,
            finished_at_ms: None,
        }
    }

    #[test]
    fn a_matrix_has_its_fastest_axis_across_and_the_others_down() {
        let mut rows = Vec::new();
        for prompt in ["fox", "owl"] {
            for guidance in [0.0, 3.5] {
                rows.extend([7, 8, 9].map(|seed| row(prompt, guidance, seed)));
            }
        }
        let arranged = arrange(&rows);
        assert_eq!(arranged.heads, ["seed 7", "seed 8", "seed 9"]);
        let labels =
            ["fox, guidance 0", "fox, guidance 3.5", "owl, guidance 0", "owl, guidance 3.5"];
        assert_eq!(arranged.labels, labels);
        assert_eq!(arranged.cells, (0..12).map(Some).collect::<Vec<_>>());
        assert!(arranged.common.contains(&"512x512".to_owned()));
        assert!(arranged.captions.iter().all(String::is_empty), "the axes say it all");
    }

    #[test]
    fn drawn_seeds_are_no_axis_and_stand_under_the_pictures() {
        let rows = [("fox", 3), ("fox", 9), ("owl", 4), ("owl", 1)];
        let arranged = arrange(&rows.map(|(prompt, seed)| row(prompt, 0.0, seed)));
        assert_eq!(arranged.heads, ["picture 1", "picture 2"]);
        assert_eq!(arranged.labels, ["fox", "owl"]);
        assert_eq!(arranged.captions, ["seed 3", "seed 9", "seed 4", "seed 1"]);
    }

    #[test]
    fn one_axis_is_a_square_of_pictures_with_captions() {
        let rows: Vec<_> = (1..=7).map(|seed| row("fox", 0.0, seed)).collect();
        let arranged = arrange(&rows);
        assert!(arranged.heads.is_empty() && arranged.labels.is_empty());
        assert_eq!((arranged.columns, arranged.cells.len()), (3, 7));
        assert_eq!(arranged.captions[6], "seed 7");
    }

    #[test]
    fn a_picture_says_what_was_chosen_in_its_prompt_and_the_title_nothing_that_was_not_asked() {
        let mut rows = [row("a red fox", 0.0, 3), row("a grey fox", 0.0, 9)];
        for row in &mut rows {
            row.asked_prompt = Some("a {red|grey} fox".to_owned());
        }
        let arranged = arrange(&rows);
        assert_eq!(arranged.captions, ["a red fox, seed 3", "a grey fox, seed 9"]);
        let common = ["a {red|grey} fox", "512x512", "8 steps", "guidance 0", "euler"];
        assert_eq!(arranged.common, common);
        rows[1].strength = 0.5;
        assert_eq!(arrange(&rows).labels, ["strength 1", "strength 0.5"], "where it varies");
    }

    #[test]
    fn a_long_axis_goes_down_and_what_is_no_grid_is_a_list() {
        let mut rows = Vec::new();
        for prompt in ["fox", "owl"] {
            rows.extend((0..20).map(|seed| row(prompt, 0.0, seed)));
        }
        let arranged = arrange(&rows);
        assert_eq!((arranged.heads.len(), arranged.labels.len()), (2, 20));
        assert_eq!(arranged.cells[1], Some(20), "the owl beside the fox of the same seed");
        rows.pop();
        let arranged = arrange(&rows);
        assert!(arranged.heads.is_empty());
        assert_eq!(arranged.captions[0], "fox, seed 0");
    }

    #[test]
    fn a_list_of_prompts_is_wrapped_and_no_sheet_of_one_column() {
        let rows: Vec<_> = (0..60).map(|n| row(&format!("animal {n}"), 0.0, 1000 - n)).collect();
        let arranged = arrange(&rows);
        assert_eq!((arranged.columns, arranged.labels.len()), (8, 0));
        assert_eq!(arranged.captions[7], "animal 7, seed 993");
        let crossed = [row("a", 0.0, 1), row("a", 1.0, 1), row("b", 0.0, 1), row("b", 1.0, 1)];
        assert_eq!(arrange(&crossed).columns, 2);
        assert_eq!(in_order(&crossed).captions[3], "b, guidance 1");
    }
}
