//! The commands that README.md, its translation and the documents that it leads to tell people to
//! use.

use std::collections::BTreeSet;

use crate::support::{House, said};

const ENGLISH: &str = include_str!("../../README.md");
const CHINESE: &str = include_str!("../../README.zh.md");

/// Everything in English.
const GUIDES: [&str; 4] = [
    ENGLISH,
    include_str!("../../docs/commands.md"),
    include_str!("../../docs/history.md"),
    include_str!("../../docs/service.md"),
];

/// The commands of the blocks of shell, without their comments.
fn commands(text: &'static str) -> BTreeSet<&'static str> {
    let mut lines = text.lines();
    let mut found = BTreeSet::new();
    while lines.by_ref().any(|line| line == "```sh") {
        let block = lines.by_ref().take_while(|line| *line != "```");
        found.extend(block.filter_map(|line| line.split(" #").next()).map(str::trim));
    }
    found
}

/// Commands of ours within sentences: what stands between two backquotes there.
fn mentioned(text: &str) -> Vec<String> {
    let blocks = text.split("```").step_by(2);
    let spans = blocks.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    spans.filter(|span| span.starts_with("zimaged ")).map(str::to_owned).collect()
}

/// What is handed to the program in `command`, which may be several in a row.
fn arguments(command: &str) -> Vec<Vec<String>> {
    let parts = command.split("&&").flat_map(|part| part.split(';'));
    let words = |part: &str| -> Vec<String> {
        let unquoted = part.replace("\"a red fox\"", "fox");
        unquoted.split_whitespace().take_while(|word| *word != ">").map(str::to_owned).collect()
    };
    let ours = parts.map(words).filter(|words| words.first().is_some_and(|w| w == "zimaged"));
    ours.map(|words| words[1..].to_vec()).collect()
}

// newcomer 27
#[test]
fn every_command_of_the_readme_is_one_that_the_program_takes() {
    let house = House::with_config("");
    let commands: BTreeSet<_> = GUIDES.into_iter().flat_map(commands).collect();
    let mentioned = [GUIDES.map(mentioned).concat(), mentioned(CHINESE)].map(|found| {
        assert!(found.len() > 3, "{found:?}");
        found
    });
    let mentioned = mentioned.concat();
    let all = commands.iter().copied().chain(mentioned.iter().map(String::as_str));
    let all: Vec<Vec<String>> = all.flat_map(arguments).collect();
    assert!(all.len() > 40, "{all:?}");
    for mut arguments in all {
        // What stands before is parsed first, and nothing is done.
        arguments.push("--help".to_owned());
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = house.zimaged(&words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    }
}

#[test]
fn the_translated_readme_has_the_english_one_s_commands_and_none_that_is_unknown() {
    let (english, chinese) = (commands(ENGLISH), commands(CHINESE));
    let missing: Vec<_> = english.difference(&chinese).collect();
    assert!(english.len() > 25 && missing.is_empty(), "{missing:#?}");
    let guides: BTreeSet<_> = GUIDES.into_iter().flat_map(commands).collect();
    let unknown: Vec<_> = chinese.difference(&guides).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

// newcomer 9: both commands built the program for the processor, and said so nowhere.
#[test]
fn what_builds_for_a_card_is_said_before_the_first_command() {
    let (before, _) = ENGLISH.split_once("```sh").expect("a command");
    assert!(before.contains("renders on the processor") && before.contains("--features cuda"));
}

// newcomer 27: on a fresh account there was no such folder.
#[test]
fn a_folder_that_the_readme_writes_into_is_made_before() {
    let mut written = 0;
    for block in GUIDES.iter().flat_map(|guide| guide.split("```").skip(1).step_by(2)) {
        for (place, _) in block.match_indices(" > ~/") {
            let (before, file) = (&block[..place], &block[place + " > ".len()..]);
            let file = file.split_whitespace().next().expect("a file");
            let (folder, _) = file.rsplit_once('/').expect("in a folder");
            assert!(before.contains("mkdir -p") && before.contains(folder), "{file}");
            written += 1;
        }
    }
    assert!(written > 0, "the completions are written somewhere");
}
