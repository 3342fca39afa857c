use super::*;

fn lines(text: &[(&str, &[&str])]) -> WildcardLines {
    let list = |lines: &[&str]| lines.iter().map(|line| Pattern::parse(line).unwrap()).collect();
    text.iter().map(|(name, of)| ((*name).to_owned(), list(of))).collect()
}

fn resolved(text: &str, seed: u64) -> String {
    let animals = lines(&[("animal", &["a {red|grey} fox", "an owl"]), ("a/b", &["__animal__"])]);
    Pattern::parse(text).expect(text).resolve(&animals, seed, 1000).expect(text)
}

/// How often each of the prompts comes for a thousand seeds.
fn counts(text: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for seed in 0..1000 {
        *counts.entry(resolved(text, seed)).or_default() += 1;
    }
    counts
}

#[test]
fn a_seed_makes_the_same_choices_for_ever() {
    let text = "{a|b|c} __animal__ in {2$$snow|rain|fog}";
    let expected = ["c a red fox in fog, snow", "b an owl in fog, snow", "b an owl in rain, fog"];
    assert_eq!([0, 1, 2].map(|seed| resolved(text, seed)), expected);
    // The published numbers of this generator.
    let mut random = Random(1_234_567);
    assert_eq!(random.next(), 6_457_827_717_110_365_317);
    assert_eq!(random.next(), 3_203_168_211_198_807_973);
}

#[test]
fn options_come_as_often_as_they_weigh_and_wildcards_line_by_line() {
    let even = counts("{a|b}");
    assert!(even.len() == 2 && (450..550).contains(&even["a"]), "{even:?}");
    let weighted = counts("{0.8::a|0.2::b|0::c}");
    assert!(weighted.len() == 2 && (750..850).contains(&weighted["a"]), "{weighted:?}");
    let nested = counts("{{a|b}|__a/b__}");
    assert_eq!(nested.keys().collect::<Vec<_>>(), ["a", "a grey fox", "a red fox", "an owl", "b"]);
    let pairs = counts("{2$$a|b|c}");
    assert_eq!(pairs.keys().collect::<Vec<_>>(), ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]);
    assert_eq!(counts("a{, b|}").len(), 2, "an option may be empty");
}

#[test]
fn what_chooses_nothing_stays_as_it_is() {
    for text in
        ["a {one} b", "a | b } c", "snake_case__", "__init .__", "____", "(a:1.2) [a|b]", "a::b"]
    {
        assert_eq!(resolved(text, 1), text);
    }
    assert_eq!(resolved(r"\{a\|b\} \__animal__ \(c\) \\", 1), r"{a|b} __animal__ \(c\) \");
    assert_eq!(Pattern::parse("a __../etc/passwd__").unwrap().wildcards(), BTreeSet::new());
    let names = Pattern::parse("{__x__|{__y/z__|a}} __x__").unwrap();
    assert_eq!(names.wildcards(), BTreeSet::from(["x", "y/z"]));
}

#[test]
fn what_cannot_be_chosen_is_told() {
    for (text, message) in [
        ("a {b|c", "a { is not closed; write \\{ for a brace"),
        ("{3$$a|b}", "3 cannot be chosen of 2; write {2$$a|b|c} for two of three"),
        ("{0$$a|b}", "0 cannot be chosen of 2; write {2$$a|b|c} for two of three"),
        ("{0::a|0::b}", "1 cannot be chosen of 0; write {2$$a|b|c} for two of three"),
        ("{1-2$$a|b}", "'1-2' in front of $$ is no whole number; write {2$$a|b|c}"),
    ] {
        assert_eq!(Pattern::parse(text).expect_err(text), message);
    }
    let deep = "{".repeat(100_000);
    assert_eq!(Pattern::parse(&deep).expect_err("deep"), "braces stand more than 32 deep");
}

#[test]
fn a_prompt_without_an_end_and_one_that_is_too_long_are_told() {
    let endless = lines(&[("a", &["x __a__ __a__"]), ("b", &["{__b__|__b__}"])]);
    let resolve =
        |text: &str, bytes_max| Pattern::parse(text).unwrap().resolve(&endless, 1, bytes_max);
    for text in ["__a__", "__b__"] {
        let message = resolve(text, 10_000).expect_err("no end");
        assert!(message.starts_with("it takes more than 1000 choices"), "{message}");
    }
    let message = resolve("{abc|def}", 2).expect_err("too long");
    assert_eq!(message, "with its choices made it is longer than 2 bytes");
}
