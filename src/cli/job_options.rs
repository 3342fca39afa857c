//! A job on the command line: every key of a job file as an option, prompts of a list, a template.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::job_file::{self, JobFile};
use super::{EXIT_NOT_DONE, EXIT_USAGE, Failure};
use crate::config::Config;
use crate::job::name;
use crate::job::parameters::MODEL;
use crate::job::spec::fields::sides;
use crate::job::spec::inputs::INPUT_KEYS;
use crate::queue::{Given, Wish, option_of};

/// What an option says of itself in the help: key, value, text. A test holds that no key is
/// missing.
const ABOUT: [(&str, &str, &str); 25] = [
    ("negative_prompt", "TEXT", "What not to paint; counts only with guidance"),
    (SIZE, "WxH", "Pixels, like 1024x768"),
    ("width", "PIXELS", "Pixels"),
    ("height", "PIXELS", "Pixels"),
    ("wildcards", "true", "Choose in {a|b} and __name__ of the prompts"),
    ("steps", "NUMBER", "Denoising steps"),
    ("guidance", "NUMBER", "Classifier-free guidance; 0 is off"),
    ("guidance_normalization", "NUMBER", "Longest guided prediction by the prompt's own; 0 is off"),
    ("guidance_truncation", "NUMBER", "No guidance in the steps after this time"),
    ("sampler", "WORD", "euler, or res_multistep as in ComfyUI's template"),
    ("init_image", "FILE", "The picture to begin with"),
    ("mask", "FILE", "The picture that is bright where init-image is painted over"),
    ("strength", "NUMBER", "How much of init-image is painted anew, to 1"),
    ("seed", "NUMBER", "The first picture's seed, or random"),
    ("num_images", "NUMBER", "Pictures of each prompt"),
    ("precision", "WORD", "full, or int8: faster on a GeForce card, and a little less exact"),
    ("on_oom", "WORD", "What may be given up: fail, offload or downgrade"),
    ("min_side", "PIXELS", "The shorter side never becomes smaller"),
    ("min_steps", "NUMBER", "There are never fewer steps"),
    ("output", "NAME", "The pictures' names, like {job}-{index}"),
    ("format", "WORD", "png, jpeg or webp"),
    ("priority", "NUMBER", "Higher runs first"),
    ("not_before", "TIME", "Not started before: 22:00, or a date and a time; none"),
    (
        "not_after",
        "TIME",
        "Nothing is started after it, what is left is cancelled: 07:00, or a date and a time; none",
    ),
    ("window", "HOURS", "Started in this part of each day only, like 22:00-07:00; none"),
];

/// Stands for width and height.
const SIZE: &str = "size";

/// Under which heading the help lists these options.
const HEADING: &str = "A job without a file";

/// The options that make a job, as they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct JobOptions {
    prompt: Vec<String>,
    /// A list, one prompt a line; - for standard input.
    prompts: Option<PathBuf>,
    template: Option<PathBuf>,
    tags: Vec<String>,
    loras: Vec<String>,
    /// By key, in the order of the list.
    values: Vec<(&'static str, String)>,
}

/// What a command line has of jobs.
#[derive(Debug)]
pub(super) enum JobSource<'a> {
    Files(&'a [PathBuf]),
    Options(&'a JobOptions),
}

impl clap::FromArgMatches for JobOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<JobOptions, clap::Error> {
        let texts = |id: &str| matches.get_many::<String>(id).into_iter().flatten().cloned();
        let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
        let given = |key: &'static str| Some((key, matches.get_one::<String>(key)?.clone()));
        Ok(JobOptions {
            prompt: texts("prompt").collect(),
            prompts: path("prompts"),
            template: path("template"),
            tags: texts("tag").collect(),
            loras: texts("lora").collect(),
            values: ABOUT.iter().filter_map(|(key, _, _)| given(key)).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = JobOptions::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for JobOptions {
    fn augment_args(command: Command) -> Command {
        // The command line is made once, and its names last as long as the program.
        let long = |id: &str| -> &'static str { long_of(id).leak() };
        let text = |id: &'static str| Arg::new(id).long(long(id)).help_heading(HEADING);
        let path =
            |id: &'static str| text(id).value_parser(value_parser!(PathBuf)).value_name("FILE");
        let list = |id: &'static str| text(id).action(ArgAction::Append);
        let mut command = command
            .arg(list("prompt").value_name("TEXT").help("What to paint; again for another prompt"))
            .arg(path("prompts").help("A list with a prompt a line; - for standard input"))
            .arg(path("template").help("A job file that says everything else"))
            .arg(
                list("tag").value_name("WORD").help("A word to find the job by; again for another"),
            )
            .arg(
                list("lora")
                    .value_name("NAME:WEIGHT")
                    .help("A file in the folder of LoRAs; again for another"),
            );
        for (key, value_name, help) in ABOUT {
            let option = text(key).value_name(value_name).help(help).allow_hyphen_values(true);
            let option = match key {
                "num_images" => option.short('n'),
                // What is true or false may be said alone.
                "wildcards" => {
                    option.num_args(0..=1).default_missing_value("true").allow_hyphen_values(false)
                }
                _ => option,
            };
            command = command.arg(option);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        JobOptions::augment_args(command)
    }
}

/// `min-side` for `min_side`.
fn long_of(key: &str) -> String {
    option_of(key).split_off("--".len())
}

impl JobOptions {
    /// Takes the model that the option of all commands names for the job's.
    pub(super) fn name_model(&mut self, name: &str) {
        self.values.push((MODEL, name.to_owned()));
    }

    /// What `files` and these options ask for: one of the two is to be given.
    pub(super) fn beside<'a>(&'a self, files: &'a [PathBuf]) -> Result<JobSource<'a>, Failure> {
        let usage = |message: &str| Failure { code: EXIT_USAGE, error: anyhow!("{message}") };
        match (files, self.is_given()) {
            ([], true) => Ok(JobSource::Options(self)),
            ([_, ..], false) => Ok(JobSource::Files(files)),
            ([], false) => Err(usage("name job files, or say --prompt TEXT, or --prompts FILE")),
            // A second word that the shell took for itself.
            ([word, ..], true) if !self.prompt.is_empty() && !word.exists() => {
                let (first, word) = (self.prompt.join(" "), word.display());
                Err(usage(&format!(
                    "{word} is no job file; a prompt of several words is quoted: --prompt \
                     \"{first} {word}\""
                )))
            }
            ([_, ..], true) => Err(usage(
                "a job file says everything itself: --template FILE takes it as a base for the \
                 options, --prompts FILE reads a list of prompts",
            )),
        }
    }

    /// Whether any of them was given.
    fn is_given(&self) -> bool {
        let JobOptions { prompt, prompts, template, tags, loras, values } = self;
        prompts.is_some()
            || template.is_some()
            || !(prompt.is_empty() && tags.is_empty() && loras.is_empty() && values.is_empty())
    }

    /// The job that they ask for, not checked yet.
    pub(super) fn wish(&self, config: &Config) -> Result<Wish, Failure> {
        let read = |path: &PathBuf| job_file::read(config, path);
        let list = self.prompts.as_deref().map(job_file::read_prompts).transpose()?;
        let template = self.template.as_ref().map(read).transpose()?;
        let mut given = Vec::new();
        for (key, value) in &self.values {
            match *key {
                SIZE => given.extend(of_size(value)?),
                key if INPUT_KEYS.contains(&key) => given.push(of_option(key, &whole_path(value)?)),
                key => given.push(of_option(key, value)),
            }
        }
        let lists = [("tags", "--tag", &self.tags), ("lora", "--lora", &self.loras)];
        let lists = lists.into_iter().filter(|(_, _, values)| !values.is_empty());
        given.extend(lists.map(|(key, option, values)| Given::list(key, option, values)));
        Ok(Wish {
            name: self.name(),
            prompts: self.prompt.clone(),
            list: list.map(|JobFile { name, content, .. }| (name, content)),
            folder: template.as_ref().map(|file| file.folder.clone()).unwrap_or_default(),
            template: template.map(|JobFile { name, content, .. }| (name, content)),
            given,
        })
    }

    /// As its template, else as its list is called, else as its first prompt begins.
    fn name(&self) -> String {
        let file = self.template.as_deref().or(self.prompts.as_deref());
        let file = file.filter(|file| *file != Path::new("-"));
        let stem = file.and_then(Path::file_stem).map(OsString::from).unwrap_or_default();
        let stem = stem.to_string_lossy();
        let prompt = self.prompt.first().map_or("", String::as_str);
        match stem.as_ref() {
            "" => format!("{}.toml", name::of_prompt(prompt)),
            stem => format!("{stem}.toml"),
        }
    }
}

/// The path as it is from everywhere.
fn whole_path(path: &str) -> Result<String, Failure> {
    let whole = std::path::absolute(path).map_err(anyhow::Error::from)?;
    Ok(whole.to_string_lossy().into_owned())
}

/// Width and height.
fn of_size(value: &str) -> Result<[Given; 2], Failure> {
    let sides = value
        .split_once('x')
        .filter(|(width, height)| [width, height].iter().all(|side| side.parse::<u32>().is_ok()));
    let (width, height) = sides.ok_or_else(|| Failure {
        code: EXIT_NOT_DONE,
        error: anyhow!("--size: '{value}' is no size; {}", size_form(value)),
    })?;
    Ok([("width", width), ("height", height)].map(|(key, side)| Given::number(key, "--size", side)))
}

/// What is right in place of `value`: the same with a small x, where that is all.
fn size_form(value: &str) -> String {
    match value.to_lowercase() {
        small if small != value && sides(&small).is_some() => format!("use {small}"),
        _ => "use the form 1024x768".to_owned(),
    }
}

/// The value of an option as the job's text has it.
fn of_option(key: &'static str, value: &str) -> Given {
    Given::option(key, &option_of(key), value)
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// Every key of a job file, from what the reader says where it knows a key not.
    fn keys() -> Vec<String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::parse("engine = \"fake\"", folder.path()).expect("a configuration");
        let text = b"prompt = 'a'\nxyzzy = 1\n".to_vec();
        let Err(refused) = crate::queue::check(&config, folder.path(), "a.toml".to_owned(), text)
        else {
            panic!("xyzzy is a key")
        };
        let refused = refused.to_string();
        let (_, known) = refused.split_once("known keys: ").expect("a list of the keys");
        known.split_whitespace().map(|key| key.trim_end_matches(',').to_owned()).collect()
    }

    #[test]
    fn every_key_of_a_job_file_is_an_option_or_has_one_of_its_own_kind() {
        let command = JobOptions::augment_args(Command::new("submit"));
        for key in keys() {
            let option = match key.as_str() {
                "tags" => "tag".to_owned(),
                "prompt_file" => "prompts".to_owned(),
                // Lists belong into a template.
                "matrix" => "template".to_owned(),
                // An option of all commands, which `submit` takes for the job's.
                "model" => continue,
                key => long_of(key),
            };
            let has_it = command.get_arguments().any(|arg| arg.get_long() == Some(&*option));
            assert!(has_it, "no option for {key}");
        }
    }

    #[test]
    fn numbers_are_numbers_in_the_text_of_the_job_and_words_are_strings() {
        let words = ["zimaged", "--priority=-5", "--seed", "random", "-n", "4", "--output", "12"];
        let command = JobOptions::augment_args(Command::new("zimaged"));
        let options = JobOptions::from_arg_matches(&command.get_matches_from(words));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = Config::parse("", folder.path()).expect("a configuration");
        let wish = options.expect("all are known").wish(&config).expect("nothing is read");
        let shown = format!("{:?}", wish.given);
        for value in ["\"\\\"random\\\"\"", "\"-5\"", "\"4\"", "\"\\\"12\\\"\""] {
            assert!(shown.contains(&format!("value: {value}")), "{value} in {shown}");
        }
    }
}
