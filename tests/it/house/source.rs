//! Reads the source as far as the house's rules need it: code without comments and texts, and which
//! modules a file names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The path of a module from the crate's root: `["engine", "z_image"]`.
pub type Module = Vec<String>;

/// One file of `src`, its tests left out.
pub struct SourceFile {
    /// Relative to `src`.
    pub name: String,
    pub module: Module,
    /// The text without comments, strings and characters.
    pub code: String,
    /// The text without comments only.
    pub with_strings: String,
    /// Whether the file is a folder's `mod.rs`.
    pub is_folder: bool,
}

/// All files of `src`.
pub fn files() -> Vec<SourceFile> {
    let is_code = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem != "tests");
    let root = folder("src");
    rust_files("src").iter().filter(|path| is_code(path)).map(|path| read(&root, path)).collect()
}

/// The whole texts of the Rust files in a folder of the repository.
pub fn texts(name: &str) -> Vec<String> {
    rust_files(name).iter().map(|path| fs::read_to_string(path).expect("a source file")).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The Rust files in a folder of the repository, and in those inside it.
fn rust_files(name: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut folders = vec![folder(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths
}

fn read(root: &Path, path: &PathBuf) -> SourceFile {
    let text = fs::read_to_string(path).expect("a source file");
    let relative = path.strip_prefix(root).expect("inside src").with_extension("");
    let mut module: Module =
        relative.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
    let is_folder = module.last().is_some_and(|last| last == "mod");
    if is_folder || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    let code = blank(&text, true);
    let tests = tests(&code);
    SourceFile {
        name: format!("{}.rs", relative.display()),
        module,
        with_strings: without(&blank(&text, false), &tests),
        code: without(&code, &tests),
        is_folder,
    }
}

/// The text with spaces in place of comments, and of strings and characters too where `strings` is
/// set. Its length stays the same.
pub fn blank(text: &str, strings: bool) -> String {
    let literal = Regex::new(concat!(
        r"(?s)(?<comment>//[^\n]*|/\*.*?\*/)",
        r##"|r#".*?"#|r"[^"]*"|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'"##,
    ))
    .expect("a pattern");
    let spaces = |text: &str| -> String {
        text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
    };
    let replaced = literal.replace_all(text, |found: &regex::Captures| {
        let is_blanked = strings || found.name("comment").is_some();
        if is_blanked { spaces(&found[0]) } else { found[0].to_owned() }
    });
    replaced.into_owned()
}

/// Where the inline modules of tests lie.
fn tests(code: &str) -> Vec<std::ops::Range<usize>> {
    let start = Regex::new(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))?\s+)?mod\s+\w+\s*[;{]");
    let starts = start.expect("a pattern");
    let range = |found: regex::Match| match found.as_str().ends_with(';') {
        true => found.range(),
        false => found.start()..closing(code, found.end() - 1),
    };
    starts.find_iter(code).map(range).collect()
}

/// The end of the braces that open at `start`.
fn closing(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn without(text: &str, ranges: &[std::ops::Range<usize>]) -> String {
    let mut kept = text.to_owned();
    for range in ranges.iter().rev() {
        kept.replace_range(range.clone(), "");
    }
    kept
}

/// The modules that each file names by `crate::`, `super::` or `self::` paths, its own left out.
pub fn imports(files: &[SourceFile]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeSet<&Module> = files.iter().map(|file| &file.module).collect();
    let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for file in files {
        let named = paths(&file.code, &file.module).into_iter().filter_map(|mut path| {
            while !path.is_empty() && !modules.contains(&path) {
                path.pop();
            }
            (!path.is_empty() && path != file.module).then_some(path)
        });
        graph.entry(file.module.clone()).or_default().extend(named);
    }
    graph
}

/// All paths in `code`, from the crate's root.
fn paths(code: &str, own: &Module) -> Vec<Module> {
    let import = Regex::new(r"\buse\s+([^;]+);").expect("a pattern");
    let inline = Regex::new(r"\b(?:crate|super)(?:::\w+)+").expect("a pattern");
    let body = import.replace_all(code, "");
    let imported = import.captures_iter(code).map(|found| found[1].to_owned());
    let named = inline.find_iter(&body).map(|found| found.as_str().to_owned());
    let mut paths = Vec::new();
    for path in imported.chain(named) {
        expand(&[], &path, &mut |path| paths.extend(from_root(path, own)));
    }
    paths
}

/// Calls `found` with each path of a tree of imports: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn expand(prefix: &[&str], tree: &str, found: &mut impl FnMut(&[&str])) {
    let tree = tree.trim();
    if let Some(list) = tree.strip_prefix('{').and_then(|list| list.strip_suffix('}')) {
        split(list).into_iter().for_each(|part| expand(prefix, part, found));
        return;
    }
    let (head, tail) = tree.split_once("::").unwrap_or((tree, ""));
    let head = head.split_whitespace().next().unwrap_or_default();
    let path = [prefix, &[head]].concat();
    if tail.is_empty() { found(&path) } else { expand(&path, tail, found) }
}

/// The parts between the commas that lie in no braces.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let is_between = |char: char| {
        depth += i32::from(char == '{') - i32::from(char == '}');
        char == ',' && depth == 0
    };
    list.split(is_between).filter(|part| !part.trim().is_empty()).collect()
}

/// A path of this crate from its root; `None` for those of other crates.
fn from_root(path: &[&str], own: &Module) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut root: Module = match *first {
        "crate" => Vec::new(),
        "self" => own.clone(),
        "super" => own[..own.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    for name in rest {
        match *name {
            "super" => drop(root.pop()),
            "self" | "*" => {}
            name => root.push(name.to_owned()),
        }
    }
    Some(root)
}

#[test]
fn a_url_in_a_string_is_no_comment_and_a_brace_in_a_string_is_none() {
    let text = "let a = \"http://x\"; b::c(); // d\nlet e = '\\''; r#\"f \" }\"#";
    assert_eq!(blank(text, true).trim_end(), "let a =           ; b::c();     \nlet e =     ;");
    assert!(blank(text, false).contains("http://x") && !blank(text, false).contains("// d"));
}

#[test]
fn every_path_of_a_tree_is_found_wherever_it_stands() {
    let code = "use crate::{a, b::{self, c::D as E}};\nuse super::f;\nfn g(x: (crate::h::I)) {}";
    let own = vec!["x".to_owned(), "y".to_owned()];
    let found: Vec<String> = paths(code, &own).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a", "b", "b::c::D", "x::f", "h::I"]);
}
