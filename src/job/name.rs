//! Names of pictures: templates with tokens like `{job}`, confined to the output folder. Pure.

use jiff::civil::DateTime;

use super::slug::{BYTES_MAX, is_of_word, slug};

/// The template where neither job file nor `daemon.toml` says another: sorted by job, and telling
/// what was asked.
pub const DEFAULT_TEMPLATE: &str = "{job}-{name}-{index}-{seed}";

/// A component of a name is at most this many bytes: filesystems take 255, and an extension and a
/// number come after it.
const COMPONENT_BYTES_MAX: usize = 240;

/// Folders and file of a name, together.
const DEPTH_MAX: usize = 4;

/// Windows takes no file and no folder of these names, whatever their extension, and pictures are
/// copied there. COM1 to COM9 and LPT1 to LPT9 are of the same kind.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

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
    ("prompt", |facts| slug(&facts.prompt.to_lowercase(), "", "picture")),
    ("name", |facts| slug(facts.name, "._", "job")),
];

/// What a job is called that has no file: as its prompt begins.
pub fn of_prompt(prompt: &str) -> String {
    slug(&prompt.to_lowercase(), "", "request")
}

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

/// Extensions of pictures. A name that ends in another one is left alone: it may be a word.
const EXTENSIONS: [&str; 11] =
    ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "jxl"];

/// The template before an extension of pictures, and that extension in lower case.
pub fn extension(template: &str) -> Option<(&str, String)> {
    let (stem, extension) = template.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str()).then_some((stem, extension))
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
    if is_reserved(component) {
        return Err(format!("{component:?} is a name that Windows keeps for itself"));
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
    let mut safe = safe.trim_start_matches(['.', '-']).to_owned();
    if is_reserved(&safe) {
        safe.insert(0, '_');
    }
    safe[..safe.floor_char_boundary(COMPONENT_BYTES_MAX)].trim_end_matches('.').to_owned()
}

fn is_allowed(c: char) -> bool {
    is_of_word(c) || matches!(c, '.' | '_' | '-')
}

fn is_reserved(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().to_lowercase();
    let is_port = ["com", "lpt"].into_iter().any(|port| {
        let number = stem.strip_prefix(port).unwrap_or_default();
        number.chars().count() == 1 && number.contains(char::is_numeric)
    });
    is_port || RESERVED.contains(&stem.as_str())
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
    const LONG: &str = "éééééééééééééééééééééééééééééééééééééééé";
    const { assert!(LONG.len() == BYTES_MAX) };
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
        assert_eq!(expand("{prompt}-{name}", &facts("🦊", "..")), "picture-job");
        assert_eq!(expand("{prompt}-{name}", &facts("ÜBER, x", "..a.b..")), "über-x-a.b");
        assert_eq!(expand("{name}", &facts("a", ".(A")), "A");
    }

    /// newcomer 26
    #[test]
    fn names_hold_letters_of_every_script_and_nothing_that_windows_refuses() {
        let name = expand("{prompt}/{name}", &facts("雪地里的狐狸", "中文"));
        assert_eq!(name, "雪地里的狐狸/中文");
        assert_eq!(expand("夜/{index}", &facts("a", "b")), "夜/0003");
        for (prompt, expected) in
            [("con", "_con"), ("COM1", "_com1"), ("LPT²", "_lpt²"), ("console", "console")]
        {
            assert_eq!(expand("{prompt}", &facts(prompt, "a")), expected);
        }
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
            ("a\u{202e}b", "'\\u{202e}' is not allowed"),
            ("a:b", "':' is not allowed"),
            ("aux", "\"aux\" is a name that Windows keeps"),
            ("a/NUL.x", "\"NUL.x\" is a name that Windows keeps"),
            ("a b", "' ' is not allowed"),
            ("a}", "'}' is not allowed"),
            ("{seed", "a '{' without its '}'"),
            ("{cfg}", "{cfg} is no token; there are {job} {index}"),
            ("{}", "{} is no token"),
            ("{{seed}}", "a '{' without its '}'"),
            ("a/b/c/d/e", "more than 3 folders"),
            ("{prompt}{name}{prompt}{seed}", "may become 259 bytes long; at most 240"),
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
            let substituted = substitute(&template, &facts);
            prop_assume!(!substituted.split('/').any(is_reserved));
            prop_assert_eq!(expand(&template, &facts), substituted);
        }
    }
}
