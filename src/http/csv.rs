//! Rows as a table for other programs, by RFC 4180.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// A file of these rows, with the names of the columns before them.
pub fn answer(name: &str, rows: &[Map<String, Value>]) -> Response {
    let disposition = format!("attachment; filename=\"{name}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, disposition.as_str()),
    ];
    (headers, table(rows)).into_response()
}

fn table(rows: &[Map<String, Value>]) -> String {
    let head = rows.first().map(|first| line(first.keys().map(|name| text(name))));
    let rows = rows.iter().map(|row| line(row.values().map(cell)));
    head.into_iter().chain(rows).collect()
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(content) => text(content),
        other => text(&other.to_string()),
    }
}

/// In quotes where it needs them. Spreadsheets take a text that begins like a formula for one, and
/// run it: a prompt may come from anybody.
fn text(content: &str) -> String {
    let is_number = content.parse::<f64>().is_ok();
    let is_formula = !is_number && content.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let content = if is_formula { format!("'{content}") } else { content.to_owned() };
    match content.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", content.replace('"', "\"\"")),
        false => content,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_lines_and_no_text_is_a_formula() {
        let row = json!({ "a": "x, \"y\"\nz", "b": null, "c": -1.5, "d": "=1+1", "e": "-2" });
        let Value::Object(row) = row else { unreachable!() };
        let told = table(&[row]);
        assert_eq!(told, "a,b,c,d,e\r\n\"x, \"\"y\"\"\nz\",,-1.5,'=1+1,-2\r\n");
        assert_eq!(table(&[]), "");
    }
}
