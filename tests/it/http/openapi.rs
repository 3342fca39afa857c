//! That `openapi.json` has every route, and that each answers as it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::House;
use crate::support::http::Reply;

/// The files that have routes beside those of pages, and what stands before them.
const ROUTERS: [(&str, &str); 4] = [
    ("src/http/api/mod.rs", "/api/v1"),
    ("src/http/openai/mod.rs", "/v1"),
    ("src/http/sdapi/mod.rs", "/sdapi/v1"),
    ("src/http/mod.rs", ""),
];

/// `get /path` of every route in the source.
fn routes() -> BTreeSet<String> {
    let route = Regex::new(r#"(?s)\.route\(\s*"([^"]+)",(.*?)\n"#).expect("a pattern");
    let method = Regex::new(r"\b(get|post|patch|put|delete)\(").expect("a pattern");
    let mut found = BTreeSet::new();
    for (file, prefix) in ROUTERS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = fs::read_to_string(path).expect("the source");
        for routed in route.captures_iter(&source) {
            for by in method.captures_iter(&routed[2]) {
                found.insert(format!("{} {prefix}{}", &by[1], &routed[1]));
            }
        }
    }
    found
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let house = House::started("");
    let document = house.get("/api/v1/openapi.json").ok().json();
    let paths = document["paths"].as_object().expect("paths");
    let told: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, by)| {
            by.as_object().expect("methods").keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let routes = routes();
    assert!(routes.len() > 50, "{routes:?}");
    assert_eq!(told, routes);
    let page = house.get("/reference").ok().text();
    for path in paths.keys() {
        assert!(page.contains(path.as_str()), "{path}");
    }
}

/// A value against a schema of the document: what does not fit.
struct Check<'a> {
    document: &'a Value,
}

impl Check<'_> {
    fn problems(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let schema = self.document.pointer(&name[1..]).expect("a schema of this name");
            return self.problems(schema, value, at);
        }
        if let Some(any) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
            let fits = any.iter().any(|one| self.problems(one, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at}: none of {any:?}: {value}")] };
        }
        let mut problems = Vec::new();
        if !has_type(&schema["type"], value) {
            problems.push(format!("{at}: {value} is no {}", schema["type"]));
        }
        let is_listed = schema["enum"].as_array().is_none_or(|words| words.contains(value));
        let is_constant = schema.get("const").is_none_or(|word| word == value);
        if !is_listed || !is_constant {
            problems.push(format!("{at}: {value} is not in {schema}"));
        }
        for item in value.as_array().into_iter().flatten() {
            if schema.get("items").is_some() {
                problems.extend(self.problems(&schema["items"], item, &format!("{at}[]")));
            }
        }
        if let (Some(fields), Some(properties)) =
            (value.as_object(), schema["properties"].as_object())
        {
            for name in schema["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap_or_default()) {
                    problems.push(format!("{at}: {name} is missing"));
                }
            }
            for (name, value) in fields {
                let place = format!("{at}.{name}");
                match properties.get(name) {
                    Some(schema) => problems.extend(self.problems(schema, value, &place)),
                    None => problems.push(format!("{place} is not told of")),
                }
            }
        }
        problems
    }
}

fn has_type(kind: &Value, value: &Value) -> bool {
    let is = |word: &str| match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type that this test does not know: {other}"),
    };
    match kind {
        Value::String(word) => is(word),
        Value::Array(words) => words.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

/// What does not fit the document in the answer to `method path`.
fn wrong(document: &Value, method: &str, path: &str, reply: &Reply) -> Vec<String> {
    let told = &document["paths"][path][method]["responses"][reply.status.to_string()];
    if told.is_null() {
        return vec![format!("{method} {path}: {} {}", reply.status, reply.text())];
    }
    let kind = reply.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    let Some(content) = told["content"].get(kind) else {
        return vec![format!("{method} {path}: {kind} is not told of")];
    };
    match kind {
        "application/json" => {
            let check = Check { document };
            check.problems(&content["schema"], &reply.json(), &format!("{method} {path}"))
        }
        _ => Vec::new(),
    }
}

/// The path with something in each of its places.
fn filled(path: &str) -> String {
    let path = path.replace("{job}", "1").replace("{render}", "1.1");
    path.replace("{view}", "throughput").replace("{model}", "fake")
}

#[test]
fn what_is_asked_is_answered_as_the_document_says() {
    let house = House::started("");
    house.post("/api/v1/jobs", &json!({ "prompt": ["a fox", "oom once"], "tags": ["x"] })).ok();
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "2");
    house.until("it is ready", || (house.get("/ready").status == 200).then_some(()));
    let document = house.get("/api/v1/openapi.json").ok().json();
    let mut problems = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        // Nothing is being made now, and a stream has no end.
        if methods.get("get").is_some() && !path.ends_with("/preview") && !path.ends_with("/events")
        {
            let query = if path == "/api/v1/fit/table" { "?turbo=true" } else { "" };
            let reply = house.get(&format!("{}{query}", filled(path)));
            problems.extend(wrong(&document, "get", path, &reply));
        }
    }
    let kind = |kind: &'static str| [("Content-Type", kind)];
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut png, image::ImageFormat::Png).expect("memory");
    for (method, path, headers, body) in [
        ("post", "/api/v1/queue/pause", kind("application/json"), b"{}".to_vec()),
        ("post", "/api/v1/jobs", kind("application/json"), b"{\"prompt\": \"a wolf\"}".to_vec()),
        ("patch", "/api/v1/jobs/{job}", kind("application/json"), b"{\"priority\": 3}".to_vec()),
        ("post", "/api/v1/jobs/{job}/cancel", kind("application/json"), Vec::new()),
        ("post", "/api/v1/jobs/{job}/retry", kind("application/json"), Vec::new()),
        ("post", "/api/v1/worker/release", kind("application/json"), Vec::new()),
        ("post", "/api/v1/worker/load", kind("application/json"), Vec::new()),
        ("post", "/api/v1/queue/resume", kind("application/json"), Vec::new()),
        ("post", "/api/v1/inputs", kind("image/png"), png.into_inner()),
        (
            "post",
            "/api/v1/fit",
            kind("application/json"),
            b"{\"turbo\": true, \"vram_bytes\": 8589934592}".to_vec(),
        ),
    ] {
        // The second job is the one that waits.
        let place = path.replace("{job}", "2");
        let line = format!("{} {}", method.to_uppercase(), filled(&place));
        problems.extend(wrong(&document, method, path, &house.ask(&line, &headers, &body)));
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let refused = house.get("/api/v1/jobs/99");
    let schema = &document["components"]["schemas"]["ProblemAnswer"];
    let check = Check { document: &document };
    assert_eq!(check.problems(schema, &refused.json(), "problem"), Vec::<String>::new());
}
