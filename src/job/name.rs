//! Names of pictures: templates with tokens like `{job}`, confined to the output folder. Pure.

use jiff::civil::DateTime;

/// The template where neither job file nor `daemon.toml` says another: sorted by job, and telling what was asked.
pub const DEFAULT_TEMPLATE: &str = "{job}-{name}-{index}-{seed}";

/// A component of a name is at most this many bytes: with an extension and a number after it, all filesystems take it.
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

/// Whether `template` makes only names that are allowed; says what is wrong, or what would be right.
pub fn check(template: &str) -> Result<(), String> {
    check_tokens(template)?;
    let longest = substitute(template, &longest_facts());
    let components: Vec<&str> = longest.split('/').collect();
    if components.len() > DEPTH_MAX {
        return Err(format!("more than {} folders in each other", DEPTH_MAX - 1));
    }
    components.into_iter().try_for_each(check_component)
}

/// The name, relative to the output folder and without extension. Safe whatever template and facts are: what
/// [`check`] would refuse is left out or replaced.
pub fn expand(template: &str, facts: &NameFacts) -> String {
    let name = substitute(template, facts);
    let components: Vec<String> = name.split('/').map(safe_component).filter(|part| !part.is_empty()).collect();
    match components.len() {
        0 => "picture".to_owned(),
        _ => components[..components.len().min(DEPTH_MAX)].join("/"),
    }
}

fn check_tokens(template: &str) -> Result<(), String> {
    for after in template.split('{').skip(1) {
        let (token, _) = after.split_once('}').ok_or("a '{' without its '}'")?;
        if !TOKENS.iter().any(|(known, _)| *known == token) {
            let known: Vec<String> = TOKENS.iter().map(|(known, _)| format!("{{{known}}}")).collect();
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
        return Err(format!("{c:?} is not allowed; use letters, digits, '.', '_', '-' and tokens like {{seed}}"));
    }
    if component.starts_with(['.', '-']) || component.ends_with('.') {
        return Err(format!("{component:?} begins with '.' or '-', or ends with '.'"));
    }
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(format!("may become {} bytes long; at most {COMPONENT_BYTES_MAX}", component.len()));
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
    const LONG: &str = "prompts_and_names_are_cut_to_forty_bytes_";
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

/// The ASCII letters and digits of `text`, other characters than these and the `kept` ones as single hyphens, cut to
/// [`SLUG_BYTES_MAX`]; `empty` when there are none.
fn slug(text: &str, kept: &str, empty: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if slug.len() == SLUG_BYTES_MAX {
            break;
        }
        if c.is_ascii_alphanumeric() || kept.contains(c) {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_matches(['-', '.']);
    if slug.is_empty() { empty.to_owned() } else { slug.to_owned() }
}
