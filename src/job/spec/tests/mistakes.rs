//! What is answered to mistakes.

use super::*;

/// "line:column: message | help" for every mistake.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    let problems = parsed(text).expect_err("a mistake was put in");
    let shown = |problem: Problem| {
        let help = problem.help.map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{}:{}: {}{help}", problem.line, problem.column, problem.message)
    };
    problems.into_iter().map(shown).collect()
}

/// Expected by the beginning of each line, in order.
#[track_caller]
pub(super) fn assert_mistakes(text: &str, expected: &[&str]) {
    let found = mistakes(text);
    let all = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(all, "for\n{text:.300}\nexpected {expected:#?}\nfound {found:#?}");
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let text = "prompt = 5\nstep = 8\nwidth = 1000\nguidance = nan\nformat = 'PNG'\n[matrix]\nseed = [1, 'x', -1]\n";
    assert_mistakes(
        text,
        &[
            "1:10: prompt: expected a string, found the number 5",
            "2:1: step: unknown key | did you mean `steps`?",
            "3:9: width: 1000 is not a multiple of 16 | use 992 or 1008",
            "4:12: guidance: nan is out of range | use a number from 0 to 30",
            "5:10: format: unknown word \"PNG\" | use \"png\" or \"jpeg\" or \"webp\"",
            "7:12: matrix.seed: expected a whole number, found the string \"x\"",
            "7:17: matrix.seed: -1 is out of range | use a whole number from 0 to 9223372036854775807, or \"random\"",
        ],
    );
}

#[test]
fn each_mistake_is_told_with_its_place() {
    for (line, expected) in [
        // Numbers
        ("steps = 0", "2:9: steps: 0 is out of range | use a whole number from 1 to 100"),
        ("steps = -1", "2:9: steps: -1 is out of range"),
        ("steps = 1_000_000_000", "2:9: steps: 1000000000 is out of range"),
        ("steps = 9223372036854775808", "2:9: steps: 9223372036854775808 is out of range"),
        ("steps = 1.5", "2:9: steps: expected a whole number, found the number 1.5"),
        ("steps = nan", "2:9: steps: expected a whole number, found the number nan"),
        ("steps = \"20\"", "2:9: steps: expected a whole number, found the string \"20\""),
        ("guidance = inf", "2:12: guidance: inf is out of range | use a number from 0 to 30"),
        ("guidance = -1", "2:12: guidance: -1 is out of range"),
        ("guidance = 1e308", "2:12: guidance: 1e308 is out of range"),
        ("guidance = 1e999", "2:12: guidance: 1e999 is out of range"),
        (
            "guidance_normalization = 11",
            "2:26: guidance_normalization: 11 is out of range | use a number from 0 to 10",
        ),
        (
            "guidance_truncation = 1.1",
            "2:23: guidance_truncation: 1.1 is out of range | use a number from 0 to 1",
        ),
        ("width = 0", "2:9: width: 0 is out of range"),
        ("width = 8191", "2:9: width: 8191 is out of range"),
        ("width = 4095", "2:9: width: 4095 is not a multiple of 16 | use 4080 or 4096"),
        ("height = 4294967312", "2:10: height: 4294967312 is out of range"),
        ("seed = 18446744073709551616", "2:8: seed: 18446744073709551616 is out of range"),
        ("seed = 'Random'", "2:8: seed: expected a whole number, found the string \"Random\""),
        (
            "num_images = 0",
            "2:14: num_images: 0 is out of range | use a whole number from 1 to 10000",
        ),
        ("num_images = 1_000_000_000", "2:14: num_images: 1000000000 is out of range"),
        ("priority = 'high'", "2:12: priority: expected a whole number"),
        // Words
        (
            "on_oom = \"retry\"",
            "2:10: on_oom: unknown word \"retry\" | use \"fail\" or \"offload\" or \"downgrade\"",
        ),
        ("format = true", "2:10: format: expected a string, found true"),
        ("tags = \"a\"", "2:8: tags: expected a list, found the string \"a\""),
        ("tags = ['a', 'b c']", "2:14: tags: \"b c\" is no tag"),
        ("tags = ['']", "2:9: tags: \"\" is no tag"),
        // Prompts
        (
            "negative_prompt = \"a\\u0000\"",
            "2:19: negative_prompt: holds the control character U+0000 | remove it",
        ),
        (
            "negative_prompt = \"a\\u001b[2J\"",
            "2:19: negative_prompt: holds the control character U+001B",
        ),
        // Times
        (
            "not_before = 2026-11-24",
            "2:14: not_before: 2026-11-24 is no time | use a time of day, like \"22:00\", or",
        ),
        ("not_before = '22'", "2:14: not_before: 22 is no time | use 22:00 for 22"),
        ("not_before = '25:00'", "2:14: not_before: 25:00 is no time | use a time of day, like"),
        ("not_before = '24:00'", "2:14: not_before: 24:00 is no time | use 00:00 for 24:00"),
        ("not_before = '24:01'", "2:14: not_before: 24:01 is no time | use a time of day, like"),
        ("not_before = '23:59:60'", "2:14: not_before: 23:59:60 is no time | use 00:00 for"),
        ("not_after = '7:5'", "2:13: not_after: 7:5 is no time | use 07:05 for 7:5"),
        ("not_before = '12:60'", "2:14: not_before: 12:60 is no time | use 13:00 for 12:60"),
        ("not_before = '12:61'", "2:14: not_before: 12:61 is no time | use a time of day, like"),
        ("not_before = '22.30'", "2:14: not_before: 22.30 is no time | use 22:30 for 22.30"),
        ("not_before = '22：30'", "2:14: not_before: 22：30 is no time | use 22:30 for 22：30"),
        ("not_before = '7h'", "2:14: not_before: 7h is no time | use 07:00 for 7h"),
        ("not_before = '7 pm'", "2:14: not_before: 7 pm is no time | use 19:00 for 7 pm"),
        ("not_before = '7:30 a.m.'", "2:14: not_before: 7:30 a.m. is no time | use 07:30 for"),
        ("not_before = '12:05:30PM'", "2:14: not_before: 12:05:30PM is no time | use 12:05:30 for"),
        ("not_before = '13 pm'", "2:14: not_before: 13 pm is no time | use a time of day, like"),
        ("not_before = 'midnight'", "2:14: not_before: midnight is no time | use 00:00 for"),
        ("not_before = ''", "2:14: not_before:  is no time | use a time of day, like"),
        ("not_before = ':30'", "2:14: not_before: :30 is no time | use a time of day, like"),
        (
            "not_before = '1:2:3:4'",
            "2:14: not_before: 1:2:3:4 is no time | use a time of day, like",
        ),
        (
            "not_before = '+2h'",
            "2:14: not_before: +2h is no time | a time is said as such, and not",
        ),
        ("not_before = '22:00+01:00'", "2:14: not_before: 22:00+01:00 is no time"),
        ("not_before = 'tomorrow'", "2:14: not_before: tomorrow is no time"),
        ("not_before = 5", "2:14: not_before: expected a time, found the number 5"),
        (
            "not_after = 2026-11-24T12:59:59",
            "2:1: not_after: lies in the past: nothing would be started | use a later time",
        ),
        (
            "not_after = 2026-11-25T12:00:00\nnot_before = 2026-11-25T12:00:00",
            "2:1: not_after: is no later than not_before: nothing would be started",
        ),
        (
            "not_after = 2026-11-24T20:00:00\nwindow = '22:00-07:00'",
            "2:1: not_after: comes before the window opens: nothing would be started",
        ),
        (
            "window = '22-7'",
            "2:10: window: \"22-7\" is no window | use two different times of day, like",
        ),
        ("window = 22:00:00", "2:10: window: expected a string, found the time 22:00:00"),
        // Names
        ("output = \"../x\"", "2:10: output: "),
        // case F
        ("output = 'fox.bmp'", "2:1: output: no picture is written as .bmp | end it in .png"),
        (
            "output = 'fox.JPG'\nformat = 'webp'",
            "2:1: output: ends in .jpg, but format is \"webp\" | leave the extension out, or change",
        ),
        ("output = 'a/.png'", "2:10: output: an empty name"),
        ("output = 'a..png'", "2:10: output: \"a.\" begins with"),
        // Structure
        ("WIDTH = 512", "2:1: WIDTH: unknown key | did you mean `width`?"),
        ("xyzzy = 'x'", "2:1: xyzzy: unknown key | known keys: priority, "),
        // newcomer 35, case F
        ("hypernetwork = 'x'", "2:1: hypernetwork: unknown key | there is none"),
        ("cfg_scale = 7", "2:1: cfg_scale: unknown key | here it is called `guidance`, and is "),
        ("batch_size = 4", "2:1: batch_size: unknown key | here it is called `num_images`"),
        ("'CFG scale' = 7", "2:1: CFG scale: unknown key | here it is called `guidance`"),
        ("[matrix]\ncfg = [1]", "3:1: matrix.cfg: unknown key | here it is called `guidance`"),
        ("size = '1000x64'", "2:8: size: 1000 is not a multiple of 16 | use 992 or 1008"),
        ("size = '64x64'\nheight = 64", "2:1: size: height is given too | keep one of the two"),
        ("size = '64x64'\n[matrix]\nsize = ['64x64']", "4:1: matrix.size: also given at the top"),
        ("size = '64x64'\n[matrix]\nwidth = [64]", "4:1: matrix.width: size is given at the top"),
        ("prompt2 = “fox”", "2:11: not valid TOML: "),
        ("a.b.c = 1", "2:1: a: unknown key"),
        (
            "seed = [1, 2]",
            "2:8: seed: expected one value, found a list | put the list under [matrix]",
        ),
        ("prompt = 'b'", "2:1: not valid TOML: duplicate key"),
        ("steps = ", "2:9: not valid TOML: "),
        ("steps 8", "2:7: not valid TOML: "),
        ("matrix = 1", "2:10: matrix: expected a table, [matrix], found the number 1"),
        ("[[matrix]]", "2:1: matrix: expected a table, [matrix], found a list"),
        (
            "[matrix]\nseed = 1",
            "3:8: matrix.seed: expected a list, found the number 1 | put it into brackets: [ ... ]",
        ),
        ("[matrix]\nseed = []", "3:1: matrix.seed: the list is empty"),
        (
            "[matrix]\nprompt = ['b']",
            "3:1: matrix.prompt: also given at the top of the file | keep one of the two",
        ),
        (
            "[matrix]\nsize = ['8x8']",
            "3:9: matrix.size: 8 is out of range | use sides from 64 to 4096",
        ),
        (
            "[matrix]\nsize = ['1024']",
            "3:9: matrix.size: \"1024\" is no size | use the form \"1024x768\"",
        ),
        (
            "[matrix]\nsize = ['64x64']\nwidth = [64]",
            "3:1: matrix.size: width is given too | keep one of the two",
        ),
        ("height = 64\n[matrix]\nsize = ['64x64']", "4:1: matrix.size: height is given too"),
        (
            "[matrix]\nnum_images = [2]",
            "3:1: matrix.num_images: unknown key | all pictures of a job share `num_images`: put it at the top",
        ),
    ] {
        assert_mistakes(&format!("prompt = 'a'\n{line}"), &[expected]);
    }
}

#[test]
fn a_prompt_must_be_there_and_say_something() {
    assert_mistakes("", &["1:1: prompt: missing | say what to paint"]);
    assert_mistakes("# nothing\nsteps = 0", &["1:1: prompt: missing", "2:9: steps: 0"]);
}

#[test]
fn an_empty_prompt_hides_no_other_mistake() {
    assert_mistakes(
        "prompt = ''\nmask = 'm.png'\nnum_images = 1000\n[matrix]\nsteps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]",
        &[
            "1:10: prompt: is empty",
            "2:1: mask: counts only with init_image",
            "4:2: matrix: 11 steps x 1000 num_images make 11000 pictures",
        ],
    );
    // What it counts with is there, and told to be wrong.
    assert_mistakes(
        "prompt = 'a'\nmask = 'm.png'\ninit_image = 5",
        &["3:14: init_image: expected a string"],
    );
}

#[test]
fn a_prompt_over_the_limit_is_refused_with_its_length() {
    let limit = rules().limits.prompt_bytes_max;
    assert_eq!(job(&format!("prompt = '{}'", "a".repeat(limit))).renders.len(), 1);
    assert_mistakes(
        &format!("prompt = '{}'", "a".repeat(limit + 1)),
        &["1:10: prompt: is 16385 bytes long | at most 16384 bytes"],
    );
}

/// It shows only once the choices are made, and was told at the beginning of the file.
#[test]
fn a_mistake_in_what_was_chosen_is_told_where_its_prompt_stands() {
    let text = "wildcards = true\nprompt = [\n  'a fox',\n  '{ | }',\n]\n";
    assert_mistakes(text, &["4:3: prompt: \"{ | }\": nothing is left of it for some seed"]);
    let text = "wildcards = true\nprompt = ['a fox', '{<lora:ink>|<lora:ink>}']\n";
    assert_mistakes(text, &["2:20: prompt: is empty | say what to paint"]);
    let text = "wildcards = true\n[matrix]\nprompt = ['a fox', '{ | }']\n";
    assert_mistakes(text, &["2:2: matrix: \"{ | }\": nothing is left"]);
}

#[test]
fn a_side_that_is_suggested_is_within_the_limit() {
    let mut rules = rules();
    rules.limits.side_max = 1000;
    let problems = parse_bytes("prompt='a'\nwidth=1000".as_bytes(), &rules, NOW_MS, &mut || 0)
        .expect_err("not a multiple");
    assert_eq!(problems[0].help.as_deref(), Some("use 992"));
}

#[test]
fn at_most_sixteen_tags() {
    assert_eq!(job(&format!("prompt='a'\ntags = {:?}", ["x"; 16])).tags.len(), 16);
    assert_mistakes(
        &format!("prompt='a'\ntags = {:?}", ["x"; 17]),
        &["2:1: tags: 17 of them | at most 16 tags"],
    );
    assert_mistakes(&format!("prompt='a'\ntags = ['{}']", "x".repeat(65)), &["2:9: tags: \"xxxx"]);
}

#[test]
fn columns_count_characters_and_a_mark_of_the_byte_order_counts_nothing() {
    assert_mistakes("prompt = ['狐狸', 5]", &["1:17: prompt: expected a string"]);
    let content = "\u{feff}steps = 0\r\nprompt = 'a'\r\n".as_bytes();
    let problems = parse_bytes(content, &rules(), NOW_MS, &mut || 0).expect_err("no steps");
    assert_eq!((problems.len(), problems[0].line, problems[0].column), (1, 1, 9));
    let good = "\u{feff}prompt = 'a'\r\nsteps = 9\r\n".as_bytes();
    assert_eq!(parse_bytes(good, &rules(), NOW_MS, &mut || 0).expect("a job").renders[0].steps, 9);
}

#[test]
fn the_reference_names_every_key() {
    let reference = include_str!("../../../../docs/job-file.md");
    let unknown = mistakes("prompt = 'a'\n?\n".replace('?', "xyzzy = 1").as_str());
    let (_, keys) = unknown[0].split_once("known keys: ").expect("a list of the keys");
    for key in keys.split(", ") {
        assert!(reference.contains(&format!("`{key}`")), "{key} is not in docs/job-file.md");
    }
}
