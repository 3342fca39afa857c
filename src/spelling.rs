//! One spelling for the words that stand in rows, in JSON and on the screen.

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
                use serde::de::IntoDeserializer;
                serde::Deserialize::deserialize(word.into_deserializer())
            }
        }
    };
}

pub(crate) use spelled_by_serde;

/// "1 picture", "2 pictures".
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
