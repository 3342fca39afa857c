//! Images as OpenAI's clients expect them.

use std::convert::Infallible;
use std::io::{self, Read};

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::asked::AskedImages;
use crate::clock::{Clock, SystemClock};
use crate::http::app::App;
use crate::http::blocking::blocking;
use crate::http::encoded::Encoded;
use crate::http::fields::exact_seed;
use crate::http::picture;
use crate::http::problem::HttpProblem;
use crate::http::waiting::{Waiting, made};
use crate::store::HistoryRow;

/// Says that some picture is smaller, or has fewer steps, than asked.
const DEGRADED: &str = "x-zimaged-degraded";

/// All at once.
pub async fn whole(
    app: &App,
    pictures: &[HistoryRow],
    asked: &AskedImages,
    headers: &HeaderMap,
) -> Result<Response, HttpProblem> {
    let made = made(pictures)?;
    let mut rest = facts(&made);
    rest["output_format"] = json!(asked.format);
    let mut response = match asked.by_url {
        true => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let host = host.unwrap_or("localhost");
            let url = |row: &&HistoryRow| json!({ "url": url(host, row) });
            rest["data"] = made.iter().map(url).collect();
            Json(rest).into_response()
        }
        false => encoded(app, &made, &rest).await?.into_response(),
    };
    if made.iter().any(|row| row.degraded) {
        response.headers_mut().insert(DEGRADED, HeaderValue::from_static("1"));
    }
    Ok(response)
}

fn url(host: &str, row: &HistoryRow) -> String {
    format!("http://{host}/api/v1/renders/{}.{}/picture", row.job, row.picture)
}

/// `{"data":[{"b64_json":"..."}], ...}` with the rest of the object behind the pictures.
async fn encoded(app: &App, made: &[&HistoryRow], rest: &Value) -> Result<Encoded, HttpProblem> {
    let mut answer = Encoded::default();
    answer.text("{\"data\":[");
    answer.pictures(app, made, ("{\"b64_json\":\"", "\"}")).await?;
    let rest = rest.to_string();
    answer.text(format!("],{}", rest.strip_prefix('{').unwrap_or("}")));
    Ok(answer)
}

/// All that is said beside the pictures.
fn facts(made: &[&HistoryRow]) -> Value {
    let first = made[0];
    let (width, height) = (first.width.unwrap_or_default(), first.height.unwrap_or_default());
    let renders: Vec<String> =
        made.iter().map(|row| format!("{}.{}", row.job, row.picture)).collect();
    let own = json!({
        "job": first.job,
        "renders": renders,
        "seeds": made.iter().map(|row| exact_seed(row.seed)).collect::<Vec<_>>(),
        "rung": first.rung,
        "degraded": made.iter().any(|row| row.degraded),
        "seconds": made.iter().filter_map(|row| row.total_s).sum::<f64>(),
    });
    json!({
        "created": SystemClock.now_ms() / 1000,
        "size": format!("{width}x{height}"),
        "background": "opaque",
        "zimaged": own,
    })
}

/// One event for each picture, when all have ended.
pub fn streamed(waiting: Waiting, app: App, is_edit: bool) -> Response {
    let events = async move {
        let all = all_completed(waiting, &app, is_edit).await;
        all.unwrap_or_else(|problem| vec![wrong(&problem)])
    };
    let events = stream::once(events).flat_map(|events| stream::iter(events.into_iter().map(Ok)));
    let events = events.map(|event: Result<Event, Infallible>| event);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

async fn all_completed(
    waiting: Waiting,
    app: &App,
    is_edit: bool,
) -> Result<Vec<Event>, HttpProblem> {
    let pictures = waiting.pictures().await?;
    let mut events = Vec::new();
    for row in made(&pictures)? {
        events.push(completed(app, row, is_edit).await?);
    }
    Ok(events)
}

async fn completed(app: &App, row: &HistoryRow, is_edit: bool) -> Result<Event, HttpProblem> {
    let failed = |error: io::Error| HttpProblem::ours(error.to_string());
    let path = row.path.as_deref().unwrap_or_default();
    let (mut file, length) = picture::opened(&app.config().outputs, row).await?;
    let read = move || {
        let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.read_to_end(&mut content)?;
        Ok(STANDARD.encode(content))
    };
    let encoded = blocking(read).await?.map_err(failed)?;
    let kind = if is_edit { "image_edit.completed" } else { "image_generation.completed" };
    let mut event = facts(&[row]);
    event["type"] = json!(kind);
    event["b64_json"] = json!(encoded);
    event["created_at"] = event["created"].take();
    event["output_format"] = json!(path.rsplit('.').next());
    event["quality"] = json!("high");
    let nothing = json!({ "image_tokens": 0, "text_tokens": 0 });
    event["usage"] = json!({
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": nothing,
    });
    Ok(Event::default().event(kind).data(event.to_string()))
}

fn wrong(problem: &HttpProblem) -> Event {
    let HttpProblem { detail: message, code, .. } = problem;
    let error = json!({ "error": { "message": message, "type": "server_error", "code": code } });
    Event::default().event("error").data(error.to_string())
}
