//! Images as OpenAI's clients expect them.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::asked::AskedImages;
use crate::clock::{Clock, SystemClock};
use crate::http::app::App;
use crate::http::encoded::Encoded;
use crate::http::fields::exact_seed;
use crate::http::problem::HttpProblem;
use crate::http::waiting::{made, not_made, why_not_made};
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
    rest["created"] = json!(now_s());
    rest["zimaged"]["not_made"] = not_made(pictures).map(missing).collect();
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

/// As their clients count time.
pub fn now_s() -> i64 {
    SystemClock.now_ms() / 1000
}

fn missing(row: &HistoryRow) -> Value {
    let HistoryRow { job, picture, state, .. } = row;
    json!({ "render": format!("{job}.{picture}"), "state": state, "reason": why_not_made(row) })
}

/// What is said of pictures beside themselves, however they are sent.
pub fn facts(made: &[&HistoryRow]) -> Value {
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
        "size": format!("{width}x{height}"),
        "background": "opaque",
        "zimaged": own,
    })
}
