//! JSON as Python writes it: with `NaN` and `Infinity`, which JSON does not have.

use serde_json::Value;

/// What Python writes for numbers that JSON has not; none of them holds one that comes before it.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The value that `text` writes, with null for what is no number; `None` where it is no JSON.
pub(super) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(&with_nulls(text)).ok()
}

fn with_nulls(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((outside, behind)) = rest.split_once('"') {
        let (inside, after) = behind.split_at(string_bytes(behind));
        plain += &nulled(outside);
        plain.push('"');
        plain += inside;
        rest = after;
    }
    plain + &nulled(rest)
}

fn nulled(outside_strings: &str) -> String {
    let nulled = |text: String, word: &&str| text.replace(*word, "null");
    NO_NUMBERS.iter().fold(outside_strings.to_owned(), nulled)
}

/// How long the string is that has begun, with the quote that ends it.
fn string_bytes(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => (),
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_number_is_null_and_strings_stay_as_they_are() {
        let text =
            r#"{"a": [NaN, -Infinity,Infinity], "NaN": "say \"NaN\", \\", "b": "∞ Infinity"}"#;
        let expected =
            json!({"a": [null, null, null], "NaN": "say \"NaN\", \\", "b": "∞ Infinity"});
        assert_eq!(parse(text), Some(expected));
        for none in ["", "{", "\"NaN", "\"\\", "NaN NaN", "{\"a\": -NaN}"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
