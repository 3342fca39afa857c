//! One spelling for the words that stand in rows, in JSON and on the screen.

use std::borrow::Cow;

/// Makes serde's name of each unit variant its only spelling: `Display` writes it and `FromStr`
/// reads it.
macro_rules! spelled_by_serde {
    ($name:ty) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = serde::de::value::Error;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                use serde::de::{Error, IntoDeserializer};
                let read = serde::Deserialize::deserialize(word.into_deserializer());
                let plain = |error: Self::Err| Error::custom($crate::spelling::plain(&error));
                read.map_err(plain)
            }
        }
    };
}

pub(crate) use spelled_by_serde;

/// What serde says of a word or a key that it does not know, in ours.
pub fn plain(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    if !text.starts_with("unknown ") {
        return text;
    }
    let text = text.replacen("unknown variant", "unknown word", 1);
    let text = text.replacen("unknown field", "unknown key", 1);
    text.replacen(", expected one of ", ": use one of ", 1).replacen(", expected ", ": use ", 1)
}

/// "1 picture", "2 pictures".
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// "1 KiB", "50 MiB", "5.50 GiB": an amount of memory.
pub fn memory(bytes: u64) -> String {
    match (bytes >> 20, bytes >> 30) {
        (0, _) => format!("{} KiB", bytes.div_ceil(1 << 10)),
        (mebibytes, 0) => format!("{mebibytes} MiB"),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// The text without the numbers of the system's errors, whose words stand before them already: "No
/// such file or directory (os error 2)".
pub fn without_codes(text: &str) -> Cow<'_, str> {
    let Some((before, _)) = text.split_once(CODE) else { return Cow::Borrowed(text) };
    let mut told = before.to_owned();
    for part in text.split(CODE).skip(1) {
        let after = part.trim_start_matches('-').trim_start_matches(|c: char| c.is_ascii_digit());
        match after.strip_prefix(')') {
            Some(after) => told += after,
            None => told.extend([CODE, part]),
        }
    }
    Cow::Owned(told)
}

/// How the standard library begins such a number.
const CODE: &str = " (os error ";

/// "in 40 min", "in 23 hours", "in 5 days": how far a moment is away, as people say it.
pub fn distance(ms: i64) -> String {
    match (ms + 500) / 1000 {
        seconds @ ..120 => format!("in {seconds} s"),
        seconds @ ..7200 => format!("in {} min", (seconds + 30) / 60),
        seconds @ ..345_600 => format!("in {} hours", (seconds + 1800) / 3600),
        seconds => format!("in {} days", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        DarkRed,
        Blue,
    }

    spelled_by_serde!(Colour);

    // newcomer 35
    #[test]
    fn an_unknown_word_is_called_so_and_what_is_no_word_stays() {
        assert_eq!(format!("{} {}", Colour::DarkRed, Colour::Blue), "dark_red blue");
        let error = "red".parse::<Colour>().expect_err("no colour").to_string();
        assert_eq!(error, "unknown word `red`: use `dark_red` or `blue`");
        assert_eq!(plain(&"unknown field `a`, expected `b`"), "unknown key `a`: use `b`");
        let number = "invalid type: string \"x\", expected u32";
        assert_eq!(plain(&number), number);
    }

    #[test]
    fn bytes_are_read_by_people() {
        assert_eq!([memory(5 << 20), memory(3 << 29)], ["5 MiB", "1.50 GiB"]);
        let small = [memory(0), memory(1), memory((1 << 20) - 1), memory((1 << 30) - 1)];
        assert_eq!(small, ["0 KiB", "1 KiB", "1024 KiB", "1023 MiB"]);
    }

    // newcomer 33
    #[test]
    fn a_system_s_error_is_told_in_words_alone() {
        let error = |code| std::io::Error::from_raw_os_error(code).to_string();
        let text = format!("a: {}, b: {}; try again", error(2), error(28));
        let told = without_codes(&text);
        assert_eq!(told, "a: No such file or directory, b: No space left on device; try again");
        for other in ["", "fox (os error", "fox (os error or not)"] {
            assert_eq!(without_codes(other), other);
        }
    }

    // newcomer 2
    #[test]
    fn a_distance_is_in_one_unit() {
        let in_seconds = |seconds: i64| distance(1000 * seconds);
        assert_eq!(
            [0, 119, 120, 3599].map(in_seconds),
            ["in 0 s", "in 119 s", "in 2 min", "in 60 min"]
        );
        let hours = |hours: i64| in_seconds(3600 * hours);
        assert_eq!(
            [2, 23, 72, 96, 130].map(hours),
            ["in 2 hours", "in 23 hours", "in 72 hours", "in 4 days", "in 5 days"]
        );
    }
}
