//! Reads a TOML text key by key and collects every mistake with its place, unknown keys included.
//!
//! Not serde: it stops at the first error, and `deny_unknown_fields` does not hold under `flatten`.

pub mod check;
mod syntax;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Problem;
pub use check::{Check, Mistake};

/// More mistakes than this are only counted: nobody mends fifty at once, and a hostile file has a
/// million.
const MISTAKES_MAX: usize = 50;

/// What an unknown key, with the tables that it stands in (`matrix.cfg`), should be instead.
pub type KeyHint = fn(&str) -> Option<String>;

/// Parses `text` and reads it with `keys`, which takes every key it knows and answers `None` only
/// after a mistake; `hint` is asked about the keys that nobody took. `Err` holds every mistake
/// found, in the order of the text; it is never empty.
pub fn read<T>(
    text: &str,
    hint: KeyHint,
    keys: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let document = DeTable::parse(text).map_err(|error| vec![syntax::problem(text, &error)])?;
    let mut top = Table::new(String::new(), hint, Some(document.get_ref()));
    let value = keys(&mut top);
    let found = top.close();
    match value {
        Some(value) if found.placed.is_empty() => Ok(value),
        _ => Err(found.into_problems(text)),
    }
}

/// What keeps a text from being TOML at all, so that nothing else of it can be read.
pub fn syntax_problem(text: &str) -> Option<Problem> {
    DeTable::parse(text).err().map(|error| syntax::problem(text, &error))
}

/// A mistake with its place.
struct Placed {
    /// In bytes.
    offset: usize,
    /// With the tables around it.
    key: Option<String>,
    mistake: Mistake,
}

impl Placed {
    fn in_text(self, text: &str) -> Problem {
        let Mistake { message, help } = self.mistake;
        Problem { key: self.key, ..Problem::at(text, self.offset, message, help) }
    }
}

/// Mistakes with their places.
#[derive(Default)]
struct Found {
    placed: Vec<Placed>,
    left_out: usize,
}

impl Found {
    fn is_full(&self) -> bool {
        self.placed.len() >= MISTAKES_MAX
    }

    fn add(&mut self, placed: Placed) {
        if self.is_full() {
            self.left_out += 1;
        } else {
            self.placed.push(placed);
        }
    }

    fn append(&mut self, other: Found) {
        self.left_out += other.left_out;
        for placed in other.placed {
            self.add(placed);
        }
    }

    fn into_problems(mut self, text: &str) -> Vec<Problem> {
        self.placed.sort_by_key(|placed| placed.offset);
        if self.left_out > 0 {
            let mistake = Mistake::new(format!("and {} more mistakes", self.left_out));
            self.placed.push(Placed { offset: text.len(), key: None, mistake });
        }
        self.placed.into_iter().map(|placed| placed.in_text(text)).collect()
    }
}

/// One table being read: keys are taken by name, what is left at the end is unknown.
pub struct Table<'d> {
    /// In front of the key in messages: empty, or like `matrix.`.
    prefix: String,
    hint: KeyHint,
    /// `None` for a section that the text leaves out.
    entries: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
    found: Found,
}

impl<'d> Table<'d> {
    fn new(prefix: String, hint: KeyHint, entries: Option<&'d DeTable<'d>>) -> Self {
        Table { prefix, hint, entries, known: Vec::new(), found: Found::default() }
    }

    /// Whether the text has `key` here.
    pub fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of `key`, or `None` when it is absent or wrong.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&DeValue<'d>) -> Check<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.checked(key, value, check)
    }

    /// As [`Table::read`], for a list; each item is checked.
    pub fn read_list<T>(
        &mut self,
        key: &'static str,
        check: impl Fn(&DeValue<'d>) -> Check<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        self.checked_list(key, value, check)
    }

    /// As [`Table::read_list`]; a value that is no list stands for a list of one.
    pub fn read_one_or_list<T>(
        &mut self,
        key: &'static str,
        check: impl Fn(&DeValue<'d>) -> Check<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Array(_) => self.checked_list(key, value, check),
            _ => Some(vec![self.checked(key, value, check)?]),
        }
    }

    /// Reads the table `key` with `keys`; when it is absent, as if it were empty.
    pub fn section<T>(&mut self, key: &'static str, keys: impl FnOnce(&mut Table<'d>) -> T) -> T {
        let entries = match self.take(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Table(entries))) => Some(entries),
            Some((place, other)) => {
                self.add(
                    key,
                    place.span().start,
                    Mistake::expected(&format!("a table, [{key}]"), other),
                );
                None
            }
            None => None,
        };
        let mut section = Table::new(format!("{}{key}.", self.prefix), self.hint, entries);
        let value = keys(&mut section);
        self.found.append(section.close());
        value
    }

    /// Reads the table `key`, in which every key is a name of the user's for a table of its own,
    /// with `keys`; at most `most` of them.
    pub fn named_sections<T>(
        &mut self,
        key: &'static str,
        most: usize,
        mut keys: impl FnMut(&str, &mut Table<'d>) -> Check<T>,
    ) -> Vec<(String, T)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Table(entries) = value.get_ref() else {
            let mistake = Mistake::expected(&format!("a table, [{key}.NAME]"), value.get_ref());
            self.add(key, value.span().start, mistake);
            return Vec::new();
        };
        let mut read = Vec::new();
        for (number, (name, value)) in entries.iter().enumerate() {
            let place = format!("{key}.{}", name.get_ref());
            let DeValue::Table(inner) = value.get_ref() else {
                let wanted = format!("a table, [{key}.NAME]");
                self.add(&place, value.span().start, Mistake::expected(&wanted, value.get_ref()));
                continue;
            };
            if number == most {
                let mistake = Mistake::new(format!("there are more than {most} of them"));
                self.add(&place, name.span().start, mistake);
                break;
            }
            let mut section =
                Table::new(format!("{}{place}.", self.prefix), self.hint, Some(inner));
            match keys(name.get_ref(), &mut section) {
                Ok(value) => read.push((name.get_ref().to_string(), value)),
                Err(mistake) => self.add(&place, name.span().start, mistake),
            }
            self.found.append(section.close());
        }
        read
    }

    /// Notes a mistake about `key` as a whole; at the beginning of the text when it is absent.
    pub fn mistake(&mut self, key: &str, mistake: Mistake) {
        self.add(key, self.place(key), mistake);
    }

    /// Where `key` stands in the text, in bytes; its beginning when the key is absent.
    pub fn place(&self, key: &str) -> usize {
        let entry = self.entries.and_then(|entries| entries.get_key_value(key));
        entry.map_or(0, |(key, _)| key.span().start)
    }

    /// As [`Table::place`], of item `index` of the list `key`, or of its value where that is no
    /// list.
    pub fn place_in(&self, key: &str, index: usize) -> usize {
        let value = self.entries.and_then(|entries| entries.get(key));
        value.map_or(0, |value| match value.get_ref() {
            DeValue::Array(items) => items.get(index).unwrap_or(value).span().start,
            _ => value.span().start,
        })
    }

    /// A mistake at a place that [`Table::place`] or [`Table::place_in`] has told.
    pub fn mistake_at(&mut self, key: &str, place: usize, mistake: Mistake) {
        self.add(key, place, mistake);
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.entries?.get(key)
    }

    fn checked<T>(
        &mut self,
        key: &str,
        value: &'d Spanned<DeValue<'d>>,
        check: impl FnOnce(&DeValue<'d>) -> Check<T>,
    ) -> Option<T> {
        match check(value.get_ref()) {
            Ok(checked) => Some(checked),
            Err(mistake) => {
                self.add(key, value.span().start, mistake);
                None
            }
        }
    }

    fn checked_list<T>(
        &mut self,
        key: &str,
        value: &'d Spanned<DeValue<'d>>,
        check: impl Fn(&DeValue<'d>) -> Check<T>,
    ) -> Option<Vec<T>> {
        let DeValue::Array(items) = value.get_ref() else {
            let mistake =
                Mistake::expected("a list", value.get_ref()).help("put it into brackets: [ ... ]");
            self.add(key, value.span().start, mistake);
            return None;
        };
        // Every item is checked before the first wrong one decides.
        let checked: Vec<Option<T>> =
            items.iter().map(|item| self.checked(key, item, &check)).collect();
        checked.into_iter().collect()
    }

    fn add(&mut self, key: &str, offset: usize, mistake: Mistake) {
        let key = format!("{}{}", self.prefix, check::shortened(key));
        let message = format!("{key}: {}", mistake.message);
        let mistake = Mistake { message, ..mistake };
        self.found.add(Placed { offset, key: Some(key), mistake });
    }

    fn close(mut self) -> Found {
        let unknown = self
            .entries
            .into_iter()
            .flatten()
            .filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        for (key, _) in unknown.collect::<Vec<_>>() {
            // Looking for the nearest key to each of a hundred thousand would take most of a
            // second.
            if self.found.is_full() {
                self.found.left_out += 1;
            } else {
                let mistake = self.unknown(key.get_ref());
                self.add(key.get_ref(), key.span().start, mistake);
            }
        }
        self.found
    }

    fn unknown(&self, key: &str) -> Mistake {
        match (self.hint)(&format!("{}{key}", self.prefix)) {
            Some(hint) => Mistake::new("unknown key").help(hint),
            None => Mistake::unknown(key, "key", &self.known),
        }
    }
}
