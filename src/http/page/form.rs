//! From the fields of the form to a job that is wished for.

use crate::job::origin::Api;
use crate::queue::{ApiJob, Given, QueueError, Wish};

/// The fields as they come: names and values.
pub type Entries = Vec<(String, String)>;

/// What jobs of the page are called in lists.
const NAME: &str = "page.toml";

/// Fields that are keys of a job, under the same name.
const KEYS: [&str; 19] = [
    "model",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "guidance",
    "sampler",
    "precision",
    "seed",
    "num_images",
    "priority",
    "not_before",
    "not_after",
    "on_oom",
    "min_side",
    "min_steps",
    "format",
    "output",
    "wildcards",
];

/// Those of them that stand under the fold.
const MORE: [&str; 8] = [
    "precision",
    "priority",
    "not_before",
    "not_after",
    "min_side",
    "min_steps",
    "output",
    "wildcards",
];

/// A form that was filled in.
pub struct JobForm {
    entries: Entries,
}

impl JobForm {
    pub fn new(entries: Entries) -> JobForm {
        JobForm { entries }
    }

    /// What stands in a field; empty where nothing does.
    pub fn get(&self, key: &str) -> &str {
        let entry = self.entries.iter().find(|(name, _)| name == key);
        entry.map_or("", |(_, value)| value.trim())
    }

    /// Whether there is something to paint already.
    pub fn has_prompt(&self) -> bool {
        !self.get("prompt").is_empty()
    }

    /// Whether a field under the fold is filled in.
    pub fn has_more(&self) -> bool {
        MORE.iter().any(|key| !self.get(key).is_empty()) || !self.get("tags").is_empty()
    }

    /// The job, to be checked or taken in.
    pub fn job(&self) -> Result<ApiJob, QueueError> {
        let text = self.wish().text()?;
        Ok(ApiJob { api: Api::Own, name: NAME.to_owned(), text, key: None })
    }

    /// What is left empty is left to the defaults.
    fn wish(&self) -> Wish {
        let given = KEYS.into_iter().filter(|key| !self.get(key).is_empty());
        let mut given: Vec<Given> =
            given.map(|key| Given::option(key, key, self.get(key))).collect();
        let tags = self.tags();
        if !tags.is_empty() {
            given.push(Given::list("tags", "tags", &tags));
        }
        Wish { name: NAME.to_owned(), prompts: self.prompts(), given, ..Wish::default() }
    }

    /// One prompt, or each line where that is ticked.
    fn prompts(&self) -> Vec<String> {
        let text = self.get("prompt").replace("\r\n", "\n");
        match self.get("one_a_line") {
            "" => vec![text],
            _ => text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    fn tags(&self) -> Vec<String> {
        let words = self.get("tags").split([',', '，']).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(entries: &[(&str, &str)]) -> JobForm {
        let entries = entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        JobForm::new(entries.collect())
    }

    #[test]
    fn empty_fields_are_left_to_the_defaults() {
        let wish = form(&[("prompt", "a fox"), ("steps", ""), ("seed", " 7 ")]).wish();
        assert_eq!(wish.prompts, ["a fox"]);
        assert_eq!(wish.given.len(), 1, "{:?}", wish.given);
    }

    #[test]
    fn lines_are_prompts_only_where_that_is_ticked() {
        let lines = ("prompt", "a fox\r\n\r\na wolf");
        assert_eq!(form(&[lines]).wish().prompts, ["a fox\n\na wolf"]);
        assert_eq!(form(&[lines, ("one_a_line", "true")]).wish().prompts, ["a fox", "a wolf"]);
    }

    #[test]
    fn tags_are_parted_by_the_commas_of_both_languages() {
        assert_eq!(form(&[("tags", "fox, 雪，night,")]).tags(), ["fox", "雪", "night"]);
    }
}
