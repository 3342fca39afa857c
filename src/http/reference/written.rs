//! Writes `openapi.json` from the operations, so that it can say nothing else.

use std::path::Path;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operations::{Operation, operations};
use crate::http::problem_answer::ProblemAnswer;

fn document() -> Value {
    let place = |settings: &mut SchemaSettings| {
        settings.definitions_path = "/components/schemas".into();
    };
    let mut generator = SchemaSettings::draft2020_12().with(place).into_generator();
    let problem = generator.subschema_for::<ProblemAnswer>().to_value();
    let mut paths = Map::new();
    for operation in operations() {
        let told = told(&operation, &problem, &mut generator);
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        let before =
            methods.as_object_mut().expect("an object").insert(operation.method.into(), told);
        assert!(before.is_none(), "twice: {} {}", operation.method, operation.path);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "zimaged",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A queue of pictures to render. docs/http.md says more.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.definitions(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn told(operation: &Operation, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let Operation { path, about, query, bodies, answers, .. } = operation;
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = json!({ "type": "string" });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let properties = query.map(|query| query(generator)["properties"].clone());
    for (name, schema) in properties.iter().flat_map(|it| it.as_object()).flatten() {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        parameters
            .push(json!({ "name": name, "in": "query", "description": about, "schema": schema }));
    }
    let mut told = json!({ "summary": about, "parameters": parameters });
    if !bodies.is_empty() {
        let of = |(kind, body): &(&str, super::operations::Make)| {
            ((*kind).to_owned(), json!({ "schema": body(generator) }))
        };
        told["requestBody"] = json!({ "content": bodies.iter().map(of).collect::<Map<_, _>>() });
    }
    let mut responses = json!({
        "default": { "description": "Why there is no answer",
                     "content": { "application/problem+json": { "schema": problem } } },
    });
    for (status, kind, answer) in answers {
        let schema = answer.map_or(json!({}), |answer| json!({ "schema": answer(generator) }));
        let response = &mut responses[status.to_string()];
        response["description"] = json!(about);
        response["content"][*kind] = schema;
    }
    told["responses"] = responses;
    told
}

#[test]
fn the_reference_is_what_the_types_say() {
    let text = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let actual = root.join("target/openapi.json");
    std::fs::write(&actual, &text).expect("a writable folder");
    let committed = root.join("src/http/reference/openapi.json");
    let expected = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(text == expected, "if it is meant: cp {} {}", actual.display(), committed.display());
}
