//! The places of a job's text that name pictures as input. A name is a path, relative to the folder
//! of the job file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::template::quoted;

/// The keys whose values are paths of pictures.
pub const INPUT_KEYS: [&str; 2] = ["init_image", "mask"];

/// One value, where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPlace {
    pub key: &'static str,
    pub path: String,
    /// Bytes of the text, quotes included.
    pub place: Range<usize>,
}

/// All of them, at the top and under `[matrix]`, in the order of the text; none where it is not
/// TOML, which whoever reads it tells.
pub fn input_places(text: &str) -> Vec<InputPlace> {
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let top = document.get_ref();
    let matrix = top.get("matrix").and_then(|matrix| matrix.get_ref().as_table());
    let mut places = Vec::new();
    for table in [Some(top), matrix].into_iter().flatten() {
        for key in INPUT_KEYS {
            places.extend(
                table.get(key).into_iter().flat_map(texts).map(|(path, place)| InputPlace {
                    key,
                    path: path.to_owned(),
                    place,
                }),
            );
        }
    }
    places.sort_by_key(|found| found.place.start);
    places
}

/// The string, or those of the list, with their places.
pub fn texts<'v>(value: &'v Spanned<DeValue>) -> Vec<(&'v str, Range<usize>)> {
    let one = |value: &'v Spanned<DeValue>| Some((value.get_ref().as_str()?, value.span()));
    match value.get_ref() {
        DeValue::Array(values) => values.iter().filter_map(one).collect(),
        _ => one(value).into_iter().collect(),
    }
}

/// The text with every path changed.
pub fn with_paths(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut changed = text.to_owned();
    // From the end, so that the places before stay where they are.
    for InputPlace { path, place, .. } in input_places(text).into_iter().rev() {
        changed.replace_range(place, &quoted(&change(&path)));
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_wherever_they_stand_and_changed_without_the_rest() {
        let text = "prompt = 'mask = \"no.png\"' # init_image = 'no.png'\ninit_image = 'a \u{72d0}.png'\n\
                    [matrix]\nmask = [\"b.png\", 'c\"d.png', 7]\nseed = [1]\n";
        let found = input_places(text);
        let named: Vec<_> = found.iter().map(|found| (found.key, found.path.as_str())).collect();
        let expected = [("init_image", "a \u{72d0}.png"), ("mask", "b.png"), ("mask", "c\"d.png")];
        assert_eq!(named, expected);
        assert_eq!(&text[found[0].place.clone()], "'a \u{72d0}.png'");
        let changed = with_paths(text, |path| format!("/x/{path}"));
        let expected = text
            .replace("'a \u{72d0}.png'", "\"/x/a \u{72d0}.png\"")
            .replace("\"b.png\"", "\"/x/b.png\"")
            .replace("'c\"d.png'", "\"/x/c\\\"d.png\"");
        assert_eq!(changed, expected);
        assert_eq!(with_paths("no toml", |_| String::new()), "no toml");
        assert_eq!(input_places("mask = { a = 'b.png' }\nmatrix = 3"), []);
    }
}
