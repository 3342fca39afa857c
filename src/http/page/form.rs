//! From the fields of the form to a job that is wished for.

use axum::extract::Request;

use super::super::app::App;
use super::super::body::{self, FormPart, PICTURES_BYTES_MAX};
use super::super::guard::media_type;
use super::super::problem::HttpProblem;
use crate::job::origin::Api;
use crate::problem::Problem;
use crate::queue::{ApiJob, Given, JobMistakes, QueueError, Wish};
use crate::table;

/// The fields as they come: names and values.
pub type Entries = Vec<(String, String)>;

/// What jobs of the page are called in lists.
const NAME: &str = "page.toml";

/// Fields that are keys of a job, under the same name.
const KEYS: [&str; 23] = [
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
    "window",
    "on_oom",
    "min_side",
    "min_steps",
    "format",
    "output",
    "wildcards",
    "init_image",
    "mask",
    "strength",
];

/// Those of them that are pictures, called by their hashes; a file comes as `init_image_file`.
pub const PICTURES: [&str; 2] = ["init_image", "mask"];

/// Fields that stand under the last fold.
const MORE: [&str; 12] = [
    "precision",
    "sampler",
    "priority",
    "not_before",
    "not_after",
    "window",
    "min_side",
    "min_steps",
    "output",
    "tags",
    "matrix",
    "wildcards",
];

/// A form that was filled in.
pub struct JobForm {
    entries: Entries,
    /// What is wrong with its files.
    problems: Vec<Problem>,
}

impl JobForm {
    pub fn new(entries: Entries) -> JobForm {
        JobForm { entries, problems: Vec::new() }
    }

    /// As it was sent, its pictures kept.
    pub async fn sent(app: &App, request: Request) -> Result<JobForm, HttpProblem> {
        if media_type(request.headers()) != "multipart/form-data" {
            return Ok(JobForm::new(body::fields(request).await?));
        }
        let mut form = JobForm::new(Entries::new());
        for FormPart { name, content } in body::form(request, PICTURES_BYTES_MAX).await? {
            match PICTURES.into_iter().find(|key| name == format!("{key}_file")) {
                // No file was chosen.
                Some(_) if content.is_empty() => {}
                Some(key) => form.keep(app, key, content.to_vec()).await?,
                None => form.entries.push((name, String::from_utf8_lossy(&content).into_owned())),
            }
        }
        Ok(form)
    }

    /// A picture goes before the one that was sent with an earlier try.
    async fn keep(
        &mut self,
        app: &App,
        key: &'static str,
        picture: Vec<u8>,
    ) -> Result<(), HttpProblem> {
        match app.queue().keep_input(picture).await {
            Ok(hash) => self.entries.insert(0, (key.to_owned(), hash)),
            Err(QueueError::WrongWish(why)) => {
                let problem = Problem::at("", 0, format!("{key}: {why}"), None);
                self.problems.push(Problem { key: Some(key.to_owned()), ..problem });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether nobody has said anything yet.
    pub fn is_untouched(&self) -> bool {
        self.entries.is_empty()
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
        MORE.iter().any(|key| !self.get(key).is_empty())
    }

    /// Whether it begins with a picture, or was to.
    pub fn has_picture(&self) -> bool {
        !self.problems.is_empty() || PICTURES.iter().any(|key| !self.get(key).is_empty())
    }

    /// The job, to be checked or taken in, without what is wrong by [`JobForm::mistakes`].
    pub fn job(&self) -> Result<ApiJob, QueueError> {
        let mut text = self.wish().text()?;
        let matrix = self.matrix();
        if !matrix.is_empty() && table::syntax_problem(&matrix).is_none() {
            text += &format!("\n[matrix]\n{matrix}\n");
        }
        Ok(ApiJob { api: Api::Own, name: NAME.to_owned(), text, key: None, is_again: false })
    }

    /// What can be no part of a job's text: files that are no pictures, and a matrix that is no
    /// TOML, which would hide all other mistakes.
    pub fn mistakes(&self) -> Vec<Problem> {
        let of_matrix = table::syntax_problem(&self.matrix()).map(|problem| Problem {
            key: Some("matrix".to_owned()),
            message: format!("matrix: {}", problem.message),
            ..problem
        });
        self.problems.iter().cloned().chain(of_matrix).collect()
    }

    /// What was found out of the job, with the form's own mistakes in front of its others.
    pub fn with_mistakes<T>(&self, checked: Result<T, QueueError>) -> Result<T, QueueError> {
        let own = self.mistakes();
        let mut found = match checked {
            Err(QueueError::Mistakes(found)) => found,
            Ok(_) if !own.is_empty() => {
                let content = self.job()?.text.into_bytes();
                JobMistakes { name: NAME.to_owned(), content, problems: Vec::new() }
            }
            checked => return checked,
        };
        found.problems.splice(0..0, own);
        Err(QueueError::Mistakes(found))
    }

    fn matrix(&self) -> String {
        self.get("matrix").replace("\r\n", "\n")
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
        let loras = self.loras();
        if !loras.is_empty() {
            given.push(Given::list("lora", "lora", &loras));
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

    /// As a job file has them in short.
    fn loras(&self) -> Vec<String> {
        match (self.get("lora"), self.get("lora_weight")) {
            ("", _) => Vec::new(),
            (name, "") => vec![name.to_owned()],
            (name, weight) => vec![format!("{name}:{weight}")],
        }
    }

    fn tags(&self) -> Vec<String> {
        let words = self.get("tags").split([',', '，']).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::CHINESE;
    use super::*;

    fn form(entries: &[(&str, &str)]) -> JobForm {
        let entries = entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        JobForm::new(entries.collect())
    }

    #[test]
    fn each_field_says_what_may_stand_in_it_where_messages_are_in_another_language() {
        let other = CHINESE.right(None);
        assert!(other.is_some());
        for key in KEYS.into_iter().chain(["prompt", "lora", "tags", "matrix"]) {
            assert_ne!(CHINESE.right(Some(key)), other, "{key}");
        }
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
    fn a_matrix_stands_behind_the_keys_and_a_lora_has_its_weight() {
        let matrix = ("matrix", "steps = [4, 8]\r\nguidance = [0, 1]");
        let job = form(&[("prompt", "a fox"), ("lora", "ink"), ("lora_weight", "0.8"), matrix]);
        let text = job.job().expect("a text").text;
        assert!(text.contains("lora = [\"ink:0.8\"]\n"), "{text}");
        assert!(text.ends_with("\n[matrix]\nsteps = [4, 8]\nguidance = [0, 1]\n"), "{text}");
        assert!(form(&[("lora", ""), ("lora_weight", "2")]).loras().is_empty());
    }

    // newcomer 35
    #[test]
    fn a_matrix_that_is_no_toml_is_named_and_hides_no_other_mistake() {
        let form = form(&[("prompt", "a fox"), ("matrix", "steps = 4, 8"), ("width", "7")]);
        let job = form.job().expect("the rest").text;
        assert!(!job.contains("[matrix]") && job.contains("width = 7"), "{job}");
        let problem = Problem::at(&job, 0, "width: 7 is out of range".to_owned(), None);
        let (name, content) = (NAME.to_owned(), job.into_bytes());
        let others = JobMistakes { name, content, problems: vec![problem] };
        let told = form.with_mistakes::<()>(Err(QueueError::Mistakes(others)));
        let Err(QueueError::Mistakes(told)) = told else { unreachable!("there are two") };
        assert_eq!(told.problems.len(), 2);
        assert_eq!(told.problems[0].key.as_deref(), Some("matrix"));
        assert!(told.problems[0].message.starts_with("matrix: not valid TOML"));
        assert!(form.with_mistakes(Ok(())).is_err());
    }

    #[test]
    fn tags_are_parted_by_the_commas_of_both_languages() {
        assert_eq!(form(&[("tags", "fox, 雪，night,")]).tags(), ["fox", "雪", "night"]);
    }
}
