//! Changes in the text of a job file that keep all its lines where they are.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text without the values of `keys`, at the top and under `[matrix]`; as it is where it is not
/// TOML, which whoever reads it tells. Blanks stand where they were.
pub fn without_keys(text: &str, keys: &[&str]) -> String {
    let Ok(document) = DeTable::parse(text) else { return text.to_owned() };
    let top = document.get_ref();
    let mut places: Vec<Range<usize>> = places_of(top, keys).collect();
    if let Some(matrix) = top.get("matrix").filter(|matrix| !is_inline(text, matrix))
        && let DeValue::Table(axes) = matrix.get_ref()
    {
        places.extend(places_of(axes, keys));
    }
    let mut changed = text.to_owned();
    for place in places {
        let blank = |c: char| if matches!(c, '\n' | '\r') { c } else { ' ' };
        // Bytes, so that the places behind stay where they are.
        let blanks: String = text[place.clone()]
            .chars()
            .flat_map(|c| std::iter::repeat_n(blank(c), c.len_utf8()))
            .collect();
        changed.replace_range(place, &blanks);
    }
    changed
}

/// The text with `prompts` in place of the file that it names at its top. They stand
/// in one line.
pub fn with_prompts(text: &str, prompts: &[String]) -> String {
    let Ok(document) = DeTable::parse(text) else { return text.to_owned() };
    let Some(place) = places_of(document.get_ref(), &["prompt_file"]).next() else {
        return text.to_owned();
    };
    let quoted: Vec<String> = prompts.iter().map(|prompt| quoted(prompt)).collect();
    let list = format!("prompt = [{}]", quoted.join(", "));
    format!("{}{list}{}", &text[..place.start], &text[place.end..])
}

/// Keys with their values.
fn places_of<'k>(
    table: &'k DeTable<'k>,
    keys: &'k [&str],
) -> impl Iterator<Item = Range<usize>> + 'k {
    let found = keys.iter().filter_map(|key| table.get_key_value(*key));
    found.map(|(key, value)| key.span().start..value.span().end)
}

/// Of `matrix = { ... }` nothing is taken out: it would leave a comma.
fn is_inline(text: &str, table: &Spanned<DeValue>) -> bool {
    text[table.span()].starts_with('{')
}

/// The text as a TOML string in one line.
pub fn quoted(text: &str) -> String {
    // JSON's escapes are among TOML's, which wants one more.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_and_every_line_stays_where_it_was() {
        let text = "prompt = [\n  'a', # first\n  '\u{72d0}',\n]\nwidth = 64 # px\n\n[matrix]\nseed = [1]\n\
                    prompt = ['c']\n";
        let changed = without_keys(text, &["prompt", "width", "steps"]);
        assert_eq!(changed.len(), text.len());
        assert_eq!(changed.matches('\n').count(), text.matches('\n').count());
        let left: Vec<&str> = changed.split_whitespace().collect();
        assert_eq!(left, ["#", "px", "[matrix]", "seed", "=", "[1]"]);
        let inline = "matrix = { seed = [1], prompt = ['c'] }";
        assert_eq!(without_keys(inline, &["prompt"]), inline);
        assert_eq!(without_keys("no toml", &["prompt"]), "no toml");
    }

    #[test]
    fn prompts_stand_in_place_of_the_file_that_has_them() {
        let text = "seed = 1\n'prompt_file' = \"\"\"\\\n  zoo.txt\"\"\" # the zoo\n[matrix]\nsteps = [1]\n";
        let changed = with_prompts(text, &["a \"fox\"".to_owned(), "b".to_owned()]);
        let expected =
            "seed = 1\nprompt = [\"a \\\"fox\\\"\", \"b\"] # the zoo\n[matrix]\nsteps = [1]\n";
        assert_eq!(changed, expected);
        assert_eq!(with_prompts("prompt = 'a'", &[]), "prompt = 'a'");
    }

    #[test]
    fn every_text_can_be_quoted() {
        let text = "a\n\t\"\\\u{0}\u{1b}\u{7f}\u{80}\u{2028}\u{72d0}\u{1f98a}";
        let document = format!("a = {}", quoted(text));
        assert_eq!(quoted(text).lines().count(), 1);
        let parsed = DeTable::parse(&document).expect("TOML");
        assert_eq!(parsed.get_ref()["a"].get_ref().as_str(), Some(text));
    }
}
