//! Letters and digits of every script, as names of files keep them.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// What a text in a name becomes is at most so many characters: more is not read in a listing.
const CHARS_MAX: usize = 40;

/// The same in bytes, so that several texts fit into one name. 26 Chinese characters.
pub(super) const BYTES_MAX: usize = 80;

/// Whether the character is a letter, a digit, or a mark on one, and can be seen.
pub(super) fn is_of_word(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Mark, Number};
    matches!(c.general_category_group(), Letter | Mark | Number) && !is_invisible(c)
}

/// Letters and marks without a shape of their own.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

/// Joins letters, or keeps them apart, inside a word of Persian or of an Indian language.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// The words of `text`, of letters, digits and the `kept` characters, joined by hyphens; as many as
/// fit. `empty` when there are none. The text's own Unicode form stays: nothing is composed.
pub(super) fn slug(text: &str, kept: &str, empty: &str) -> String {
    let is_kept = |c: char| is_of_word(c) || kept.contains(c);
    let text: String = text.chars().filter(|c| !is_joiner(*c)).collect();
    let mut slug = String::new();
    for word in text.split(|c| !is_kept(c)).filter(|word| !word.is_empty()) {
        if slug.is_empty() {
            slug.push_str(shortened(word));
        } else if fits(&slug, word) {
            slug.push('-');
            slug.push_str(word);
        } else {
            break;
        }
    }
    let slug = slug.trim_matches(['.', '-']);
    if slug.is_empty() { empty.to_owned() } else { slug.to_owned() }
}

/// Cut at a character's end.
fn shortened(word: &str) -> &str {
    let end = word.char_indices().nth(CHARS_MAX).map_or(word.len(), |(end, _)| end);
    &word[..word.floor_char_boundary(end.min(BYTES_MAX))]
}

/// Whether there is room for a hyphen and the word.
fn fits(slug: &str, word: &str) -> bool {
    let chars = slug.chars().count() + 1 + word.chars().count();
    chars <= CHARS_MAX && slug.len() + 1 + word.len() <= BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// newcomer 26
    #[test]
    fn letters_of_every_script_are_kept_and_what_cannot_be_seen_is_not() {
        for (text, expected) in [
            ("雪地里的一只红狐狸，清晨", "雪地里的一只红狐狸-清晨"),
            ("Füchse, zwei", "Füchse-zwei"),
            ("u\u{308}ber", "u\u{308}ber"),
            ("हिन्दी का चित्र", "हिन्दी-का-चित्र"),
            ("ภาพที่สวย", "ภาพที่สวย"),
            ("ثعلب أحمر", "ثعلب-أحمر"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("fox\u{202e}gpj.exe", "fox-gpj-exe"),
            ("a\u{200b}b\u{3164}c\0d/e\\f:g", "a-b-c-d-e-f-g"),
            ("🦊", "picture"),
        ] {
            assert_eq!(slug(text, "", "picture"), expected, "{text:?}");
        }
    }

    /// newcomer 26
    #[test]
    fn slugs_are_cut_between_words_or_characters() {
        let prompt = "a lighthouse on a cliff under storm clouds, long exposure";
        assert_eq!(slug(prompt, "", ""), "a-lighthouse-on-a-cliff-under-storm");
        assert_eq!(slug(&"x".repeat(50), "", "").len(), CHARS_MAX);
        assert_eq!(slug(&"狐".repeat(50), "", ""), "狐".repeat(26));
    }
}
