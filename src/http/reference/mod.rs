//! What can be asked over HTTP: `openapi.json` for programs, and what the page of the reference
//! shows of it.

#[cfg(test)]
mod operations;
#[cfg(test)]
mod written;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// Written by the test in `written`, from the operations and the types of their answers.
const OPENAPI: &str = include_str!("openapi.json");

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(OPENAPI).expect("a test has written it"));

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// One request that is answered.
pub struct ReferenceEntry<'a> {
    /// In capitals.
    pub method: String,
    pub path: &'a str,
    /// What it does.
    pub about: &'a str,
    /// Names and meanings of what may stand in its query.
    pub query: Vec<(&'a str, &'a str)>,
    /// Types of its body.
    pub bodies: Vec<&'a str>,
    /// Statuses of success, with the name of what is answered, or its media type.
    pub answers: Vec<(&'a str, &'a str)>,
}

/// All requests that are answered, by their paths.
pub fn reference() -> Vec<ReferenceEntry<'static>> {
    let paths = DOCUMENT["paths"].as_object().into_iter().flatten();
    let of_path = |(path, methods): (&'static String, &'static Value)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| entry(method, path, operation))
    };
    paths.flat_map(of_path).collect()
}

fn entry<'a>(method: &str, path: &'a str, operation: &'a Value) -> ReferenceEntry<'a> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let query = parameters
        .filter(|it| it["in"] == "query")
        .map(|it| (text(it, "name"), text(it, "description")));
    let answers = operation["responses"].as_object().into_iter().flatten();
    let answers = answers.filter(|(status, _)| *status != "default");
    ReferenceEntry {
        method: method.to_uppercase(),
        path,
        about: text(operation, "summary"),
        query: query.collect(),
        bodies: media_types(&operation["requestBody"]).collect(),
        answers: answers.map(|(status, answer)| (status.as_str(), answered(answer))).collect(),
    }
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn media_types(of: &Value) -> impl Iterator<Item = &str> {
    of["content"].as_object().into_iter().flatten().map(|(kind, _)| kind.as_str())
}

fn answered(answer: &Value) -> &str {
    let schema = &answer["content"]["application/json"]["schema"];
    let named = schema["$ref"].as_str().or_else(|| schema["items"]["$ref"].as_str());
    let name = named.and_then(|path| path.rsplit('/').next());
    name.or_else(|| media_types(answer).next()).unwrap_or_default()
}
