//! Names of pictures: templates with tokens like `{job}`, confined to the output folder. Pure.

use jiff::civil::DateTime;

/// The template where neither job file nor `daemon.toml` says another: sorted by job, and telling
/// what was asked.
pub const DEFAULT_TEMPLATE: &str = "{job}-{name}-{index}-{seed}";

/// A component of a name is at most this many bytes: with an extension and a number after it, all
/// filesystems take it.
const COMPONENT_BYTES_MAX: usize = 100;

/// Folders and file of a name, together.
const DEPTH_MAX: usize = 4;

/// What `{prompt}` and `{name}` expand to is at most this many bytes.
const SLUG_BYTES_MAX: usize = 40;

/// What the tokens of a template stand for.
#[derive(Clone, Debug)]
pub struct NameFacts<'a> {
    /// The job's id.
    pub job: i64,
    /// Position in the job, from 1.
    pub index: u32,
    pub seed: u64,
    /// Local time at which the picture is begun.
    pub begun: DateTime,
    /// As made, pixels.
    pub width: u32,
    pub height: u32,
    /// As made.
    pub steps: u32,
    pub prompt: &'a str,
    /// The job file's name without `.toml`.
    pub name: &'a str,
}

type Token = (&'static str, fn(&NameFacts) -> String);

/// Numbers that count are padded, so that listings are in their order.
const TOKENS: [Token; 10] = [
    ("job", |facts| format!("{:06}", facts.job)),
    ("index", |facts| format!("{:04}", facts.index)),
    ("seed", |facts| facts.seed.to_string()),
    ("date", |facts| facts.begun.strftime("%Y-%m-%d").to_string()),
    ("time", |facts| facts.begun.strftime("%H%M%S").to_string()),
    ("width", |facts| facts.width.to_string()),
    ("height", |facts| facts.height.to_string()),
    ("steps", |facts| facts.steps.to_string()),
    ("prompt", |facts| slug(&facts.prompt.to_ascii_lowercase(), "", "picture")),
    ("name", |facts| slug(facts.name, "._", "job")),
];

/// Whether `template` makes only names that are allowed; says what is wrong, or what would be
/// right.
pub fn check(template: &str) -> Result<(), String> {
    check_tokens(template)?;
    let longest = substitute(template, &longest_facts());
    let components: Vec<&str> = longest.split('/').collect();
    if components.len() > DEPTH_MAX {
        return Err(format!("more than {} folders in each other", DEPTH_MAX - 1));
    }
    components.into_iter().try_for_each(check_component)
}

/// The name, relative to the output folder and without extension. Safe whatever template and facts
/// are: what [`check`] would refuse is left out or replaced.
pub fn expand(template: &str, facts: &NameFacts) -> String {
    let name = substitute(template, facts);
    let components: Vec<String> =
        name.split('/').map(safe_component).filter(|part| !part.is_empty()).collect();
    match components.len() {
        0 => "picture".to_owned(),
        _ => components[..components.len().min(DEPTH_MAX)].join("/"),
    }
}

fn check_tokens(template: &str) -> Result<(), String> {
    for after in template.split('{').skip(1) {
        let (token, _) = after.split_once('}').ok_or("a '{' without its '}'")?;
        if !TOKENS.iter().any(|(known, _)| *known == token) {
            let known: Vec<String> =
                TOKENS.iter().map(|(known, _)| format!("{{{known}}}")).collect();
            return Err(format!("{{{token}}} is no token; there are {}", known.join(" ")));
        }
    }
    Ok(())
}

fn check_component(component: &str) -> Result<(), String> {
    if component.is_empty() {
        return Err("an empty name, or a '/' too many".to_owned());
    }
    if let Some(c) = component.chars().find(|c| !is_allowed(*c)) {
        return Err(format!(
            "{c:?} is not allowed; use letters, digits, '.', '_', '-' and tokens like {{seed}}"
        ));
    }
    if component.starts_with(['.', '-']) || component.ends_with('.') {
        return Err(format!("{component:?} begins with '.' or '-', or ends with '.'"));
    }
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(format!(
            "may become {} bytes long; at most {COMPONENT_BYTES_MAX}",
            component.len()
        ));
    }
    Ok(())
}

fn safe_component(component: &str) -> String {
    let safe: String = component.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let safe = safe.trim_start_matches(['.', '-']);
    safe[..safe.len().min(COMPONENT_BYTES_MAX)].trim_end_matches('.').to_owned()
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Values hold no braces, so that no token can come out of another one.
fn substitute(template: &str, facts: &NameFacts) -> String {
    TOKENS.iter().fold(template.to_owned(), |text, (token, value)| {
        let token = format!("{{{token}}}");
        if text.contains(&token) { text.replace(&token, &value(facts)) } else { text }
    })
}

/// The facts that make the longest names.
fn longest_facts() -> NameFacts<'static> {
    const LONG: &str = "forty-bytes-of-words-that-all-are-in-use";
    NameFacts {
        job: i64::MAX,
        index: u32::MAX,
        seed: i64::MAX as u64,
        begun: DateTime::MAX,
        width: 99_999,
        height: 99_999,
        steps: 9_999,
        prompt: LONG,
        name: LONG,
    }
}

/// The words of `text`, of ASCII letters, digits and the `kept` characters, joined by hyphens; as
/// many as fit into [`SLUG_BYTES_MAX`]. `empty` when there are none.
fn slug(text: &str, kept: &str, empty: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || kept.contains(c);
    let mut slug = String::new();
    for word in text.split(|c| !is_kept(c)).filter(|word| !word.is_empty()) {
        if slug.is_empty() {
            slug.push_str(&word[..word.len().min(SLUG_BYTES_MAX)]);
        } else if slug.len() + 1 + word.len() <= SLUG_BYTES_MAX {
            slug.push('-');
            slug.push_str(word);
        } else {
            break;
        }
    }
    let slug = slug.trim_matches(['.', '-']);
    if slug.is_empty() { empty.to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts<'a>(prompt: &'a str, name: &'a str) -> NameFacts<'a> {
        let begun = jiff::civil::date(2026, 11, 24).at(22, 5, 1, 0);
        NameFacts {
            job: 12,
            index: 3,
            seed: 42,
            begun,
            width: 1024,
            height: 768,
            steps: 8,
            prompt,
            name,
        }
    }

    #[test]
    fn every_token_stands_for_its_fact() {
        let template =
            "{date}/{job}/{name}/{prompt}-{index}-{seed}-{time}-{width}x{height}-{steps}";
        assert_eq!(check(template), Ok(()));
        let name = expand(template, &facts("A red fox, in *snow*", "my night (2)"));
        assert_eq!(
            name,
            "2026-11-24/000012/my-night-2/a-red-fox-in-snow-0003-42-220501-1024x768-8"
        );
    }

    #[test]
    fn the_default_is_a_good_template() {
        assert_eq!(check(DEFAULT_TEMPLATE), Ok(()));
        assert_eq!(expand(DEFAULT_TEMPLATE, &facts("a", "fox")), "000012-fox-0003-42");
    }

    #[test]
    fn words_that_a_name_cannot_hold_have_a_word_in_their_place() {
        assert_eq!(expand("{prompt}-{name}", &facts("雪地里的狐狸", "狐狸")), "picture-job");
        assert_eq!(expand("{prompt}-{name}", &facts("Füchse", "..a.b..")), "f-chse-a.b");
        assert_eq!(expand("{name}", &facts("a", ".(A")), "A");
    }

    #[test]
    fn slugs_are_cut_between_words() {
        let prompt = "a lighthouse on a cliff under storm clouds, long exposure";
        assert_eq!(expand("{prompt}", &facts(prompt, "a")), "a-lighthouse-on-a-cliff-under-storm");
        assert_eq!(expand("{prompt}", &facts(&"x".repeat(50), "a")).len(), SLUG_BYTES_MAX);
    }

    #[test]
    fn templates_that_could_leave_the_folder_or_name_no_file_are_refused() {
        for (template, reason) in [
            ("", "an empty name"),
            ("/etc/x", "an empty name"),
            ("a//b", "an empty name"),
            ("a/", "an empty name"),
            ("../x", "\"..\" begins with '.'"),
            ("a/../b", "\"..\" begins with '.'"),
            (".hidden", "\".hidden\" begins with '.'"),
            ("-rf", "\"-rf\" begins with '.' or '-'"),
            ("a.", "\"a.\" begins with '.' or '-', or ends with '.'"),
            ("%2e%2e", "'%' is not allowed"),
            ("a\\b", "'\\\\' is not allowed"),
            ("a\0", "'\\0' is not allowed"),
            ("füchse", "'ü' is not allowed"),
            ("a b", "' ' is not allowed"),
            ("a}", "'}' is not allowed"),
            ("{seed", "a '{' without its '}'"),
            ("{cfg}", "{cfg} is no token; there are {job} {index}"),
            ("{}", "{} is no token"),
            ("{{seed}}", "a '{' without its '}'"),
            ("a/b/c/d/e", "more than 3 folders"),
            ("{prompt}{name}{seed}{seed}", "may become 118 bytes long; at most 100"),
        ] {
            let error = check(template).expect_err(template);
            assert!(error.starts_with(reason), "{template}: {error}");
        }
        assert!(check(&"a".repeat(COMPONENT_BYTES_MAX)).is_ok());
        assert!(check(&"a".repeat(COMPONENT_BYTES_MAX + 1)).is_err());
    }

    fn assert_confined(name: &str) {
        let components: Vec<&str> = name.split('/').collect();
        assert!(components.len() <= DEPTH_MAX, "{name:?}");
        for component in components {
            assert_eq!(check_component(component), Ok(()), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_template_and_no_fact_leaves_the_folder(
            template in "([./{}a\\\\-]|\\PC|\\{(job|index|seed|prompt|name)\\}){0,80}",
            prompt in "([./{}a\\\\-]|\\PC|\\{seed\\}){0,60}",
            name in "([./{}a\\\\-]|\\PC){0,60}",
        ) {
            assert_confined(&expand(&template, &facts(&prompt, &name)));
        }

        #[test]
        fn what_is_checked_is_expanded_unchanged_but_for_its_tokens(
            template in "([a.-]|\\{(job|seed|date|prompt|name)\\}){1,2}a(/([a.-]|\\{(index|time|prompt|name)\\}){1,2}a){0,3}",
            prompt in "\\PC{0,60}",
            name in "\\PC{0,60}",
        ) {
            prop_assume!(check(&template).is_ok());
            let facts = facts(&prompt, &name);
            prop_assert_eq!(expand(&template, &facts), substitute(&template, &facts));
        }
    }
}
