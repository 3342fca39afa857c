//! What other programs' clients send: objects with keys that we know, and many that we do not.

use serde_json::{Map, Value};

use super::problem::HttpProblem;

/// The largest whole number that JavaScript has with all digits, as JSON knows no other.
const EXACT_MAX: i64 = (1 << 53) - 1;

/// A seed as clients in JavaScript keep it: a text where it has too many digits for their numbers.
/// [`Fields::whole`] takes it back.
pub fn exact_seed(seed: i64) -> Value {
    if seed > EXACT_MAX { seed.to_string().into() } else { seed.into() }
}

/// The fields of a request. In a form all values are texts, so numbers may be written as those.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Map<String, Value>);

impl Fields {
    /// Where something is said.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, HttpProblem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| HttpProblem::field(key, "is no text"))
    }

    pub fn whole(&self, key: &str) -> Result<Option<i64>, HttpProblem> {
        let exact = match self.get(key) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        if exact.is_some() {
            return Ok(exact);
        }
        // One with a point or an exponent may have been rounded on its way.
        let Some(number) = self.number(key)? else { return Ok(None) };
        match number.fract() == 0.0 && number.abs() < 9e15 {
            true => Ok(Some(number as i64)),
            false => Err(HttpProblem::field(key, "is no whole number that is written out")),
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, HttpProblem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_f64(),
        };
        let number = number.filter(|number: &f64| number.is_finite());
        number.map(Some).ok_or_else(|| HttpProblem::field(key, "is no number"))
    }

    pub fn is_true(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Bool(truth)) => *truth,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// The first of these keys that says something.
    pub fn first_number(&self, keys: &[&str]) -> Result<Option<f64>, HttpProblem> {
        for key in keys {
            if let Some(number) = self.number(key)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_texts_and_null_says_nothing() {
        let Value::Object(fields) = json!({ "n": "3", "x": 1.5, "t": "true", "z": null, "b": [] })
        else {
            unreachable!()
        };
        let fields = Fields(fields);
        assert_eq!(fields.whole("n").expect("a number"), Some(3));
        assert_eq!(fields.number("x").expect("a number"), Some(1.5));
        assert!(
            fields.whole("x").is_err() && fields.whole("b").is_err() && fields.text("x").is_err()
        );
        assert_eq!(fields.text("z").expect("nothing"), None);
        let seeds = json!({ "a": i64::MAX, "b": "9223372036854775807", "c": 1e18, "d": u64::MAX });
        let Value::Object(seeds) = seeds else { unreachable!() };
        let seeds = Fields(seeds);
        assert_eq!(seeds.whole("a").expect("all digits"), Some(i64::MAX));
        assert_eq!(seeds.whole("b").expect("all digits"), Some(i64::MAX));
        assert!(seeds.whole("c").is_err() && seeds.whole("d").is_err(), "it may be rounded");
        assert!(fields.is_true("t") && !fields.is_true("n"));
        assert_eq!(fields.first_number(&["z", "x", "n"]).expect("a number"), Some(1.5));
    }
}
