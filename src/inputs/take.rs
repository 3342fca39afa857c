//! A job's pictures as input are taken in with it: read, checked, kept, and called by their hashes
//! from then on.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{InputError, InputLimits, inspect, keep, read};
use crate::files;
use crate::job::Job;
use crate::job::spec::Limits;
use crate::job::spec::inputs::{InputPlace, input_places};
use crate::problem::Problem;
use crate::table::check::quoted;

/// So many different files belong to one job at the most: thousands of pictures begin with one.
const FILES_MAX: usize = 100;

/// What to do with files that can be used.
#[derive(Clone, Copy)]
pub enum InputUse<'a> {
    /// They are kept in this folder.
    Keep(&'a Path),
    /// They are only looked at, and decoded.
    Check,
}

/// What the paths in a job's text mean.
#[derive(Clone, Copy)]
pub struct JobText<'a> {
    /// The text that the job was read from.
    pub text: &'a str,
    /// The folder that relative paths begin in; `None` where there is none.
    pub folder: Option<&'a Path>,
}

impl From<&Limits> for InputLimits {
    fn from(limits: &Limits) -> InputLimits {
        let Limits { input_bytes_max: bytes_max, input_pixels_max: pixels_max, .. } = *limits;
        InputLimits { bytes_max, pixels_max }
    }
}

/// Puts the hash of its content in the place of each path in `job`. The errors are all that is
/// wrong with the files; or the program's own trouble, that one of them cannot be kept.
pub fn take_in(
    job: &mut Job,
    origin: JobText,
    limits: InputLimits,
    files: InputUse,
) -> io::Result<Result<(), Vec<Problem>>> {
    let hashes = match hashes(origin, limits, files)? {
        Ok(hashes) => hashes,
        Err(problems) => return Ok(Err(problems)),
    };
    for render in &mut job.renders {
        for path in [&mut render.recipe.init_image, &mut render.recipe.mask] {
            if let Some(hash) = hashes.get(path) {
                path.clone_from(hash);
            }
        }
    }
    Ok(Ok(()))
}

/// Keeps the files that the text of a checked job names in `folder`; their hashes, by their paths
/// in the text.
pub fn keep_named(
    origin: JobText,
    limits: InputLimits,
    folder: &Path,
) -> io::Result<Result<BTreeMap<String, String>, Vec<Problem>>> {
    hashes(origin, limits, InputUse::Keep(folder))
}

/// As [`take_in`], of a text that is no job yet: the files are only looked at.
pub fn look(origin: JobText, limits: InputLimits) -> io::Result<Result<(), Vec<Problem>>> {
    Ok(hashes(origin, limits, InputUse::Check)?.map(drop))
}

/// The hash of each file that the text names, by its path there.
fn hashes(
    origin: JobText,
    limits: InputLimits,
    files: InputUse,
) -> io::Result<Result<BTreeMap<String, String>, Vec<Problem>>> {
    let mut hashes = BTreeMap::new();
    let mut problems = Vec::new();
    for found in input_places(origin.text) {
        if hashes.contains_key(&found.path) {
            continue;
        }
        if hashes.len() + problems.len() >= FILES_MAX {
            problems.push(problem(
                origin.text,
                &found,
                format!("more than {FILES_MAX} files"),
                None,
            ));
            break;
        }
        match take(&found.path, origin.folder, limits, files)? {
            Ok(hash) => drop(hashes.insert(found.path, hash)),
            Err((message, help)) => {
                let message = format!("{}: {message}", quoted(&found.path));
                problems.push(problem(origin.text, &found, message, help));
            }
        }
    }
    Ok(if problems.is_empty() { Ok(hashes) } else { Err(problems) })
}

fn problem(text: &str, found: &InputPlace, message: String, help: Option<String>) -> Problem {
    let message = format!("{}: {message}", found.key);
    let problem = Problem::at(text, found.place.start, message, help);
    Problem { key: Some(found.key.to_owned()), ..problem }
}

/// What is wrong with a file, and what would be right.
type Refusal = (String, Option<String>);

fn take(
    path: &str,
    folder: Option<&Path>,
    limits: InputLimits,
    files: InputUse,
) -> io::Result<Result<String, Refusal>> {
    let path = match (files::under_home(path), folder) {
        (Some(path), _) => path,
        (None, Some(folder)) => folder.join(path),
        (None, None) if Path::new(path).is_absolute() => path.into(),
        (None, None) => {
            let help = "there is no job file that it could stand beside: write the whole path";
            return Ok(Err(("it is not a whole path".to_owned(), Some(help.to_owned()))));
        }
    };
    let content = match read(&path, limits).and_then(|content| {
        let (width, height) = inspect(&content, limits)?;
        if let InputUse::Check = files {
            super::input_picture(&content, width, height)?;
        }
        Ok(content)
    }) {
        Ok(content) => content,
        Err(error) => return Ok(Err((error.to_string(), help(&error, &path)))),
    };
    match files {
        InputUse::Keep(kept) => keep(kept, &content).map(Ok),
        InputUse::Check => Ok(Ok(crate::files::sha256(content))),
    }
}

fn help(error: &InputError, path: &Path) -> Option<String> {
    match error {
        InputError::Absent => Some(format!("looked for it at {path:?}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::Recipe;
    use crate::job::Render;

    const LIMITS: InputLimits = InputLimits { bytes_max: 1 << 16, pixels_max: 10_000 };

    fn job(paths: &[(&str, &str)]) -> Job {
        let render = |(init_image, mask): &(&str, &str)| {
            let [init_image, mask] = [init_image, mask].map(|path| (*path).to_owned());
            Render { recipe: Recipe { init_image, mask, ..Recipe::default() }, ..Render::default() }
        };
        Job {
            priority: 0,
            not_before_ms: None,
            not_after_ms: None,
            window: None,
            tags: Vec::new(),
            renders: paths.iter().map(render).collect(),
        }
    }

    fn folder_with_pictures() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, level) in [("a.png", 1), ("b.png", 2)] {
            let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([level; 3]));
            picture.save(folder.path().join(name)).unwrap();
        }
        folder
    }

    #[test]
    fn each_file_is_kept_once_and_called_by_its_hash() {
        let folder = folder_with_pictures();
        let kept = folder.path().join("kept");
        let mut job = job(&[("a.png", "b.png"), ("./b.png", "b.png")]);
        let text = "[matrix]\ninit_image = ['a.png', './b.png']\nmask = ['b.png']";
        let origin = JobText { text, folder: Some(folder.path()) };
        take_in(&mut job, origin, LIMITS, InputUse::Keep(&kept)).unwrap().unwrap();
        let hash = |name| crate::files::sha256(fs::read(folder.path().join(name)).unwrap());
        let (a, b) = (hash("a.png"), hash("b.png"));
        let named: Vec<_> = job.renders.iter().map(|render| &render.recipe.init_image).collect();
        assert_eq!(named, [&a, &b]);
        assert_eq!(job.renders[0].recipe.mask, b);
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 2);
    }

    #[test]
    fn all_that_is_wrong_is_told_with_key_and_place_and_nothing_is_changed() {
        let folder = folder_with_pictures();
        fs::write(folder.path().join("text.png"), "no picture").unwrap();
        let text = "init_image = 'none.png'\nmask = 'text.png'";
        let mut asked = job(&[("none.png", "text.png")]);
        let origin = JobText { text, folder: Some(folder.path()) };
        let problems = take_in(&mut asked, origin, LIMITS, InputUse::Check).unwrap().unwrap_err();
        let told: Vec<_> =
            problems.iter().map(|found| (found.line, found.message.as_str())).collect();
        let expected = [
            (1, "init_image: \"none.png\": there is no such file"),
            (2, "mask: \"text.png\": it is no PNG, JPEG or WebP picture"),
        ];
        assert_eq!(told, expected);
        let place = folder.path().join("none.png");
        assert_eq!(problems[0].help, Some(format!("looked for it at {place:?}")));
        assert_eq!(asked.renders[0].recipe.init_image, "none.png");
        let origin = JobText { text: "mask = 'a.png'", folder: None };
        let problems = take_in(&mut asked, origin, LIMITS, InputUse::Check).unwrap().unwrap_err();
        assert_eq!(problems[0].message, "mask: \"a.png\": it is not a whole path");
    }
}
