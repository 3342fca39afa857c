//! What a client sends for a job, as the text of a job file, and its pictures as kept inputs.

use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};

use super::app::App;
use super::blocking::blocking;
use super::body::{self, FormPart, PICTURES_BYTES_MAX};
use super::guard::media_type;
use super::problem::HttpProblem;

/// The keys that may hold a picture itself.
const PICTURE_KEYS: [&str; 2] = ["init_image", "mask"];

/// The text of the job in the request's body: TOML as it is, JSON with the same keys, or a form
/// with either of them as `job` and files as `init_image` and `mask`.
pub async fn job_text(app: &App, request: Request) -> Result<String, HttpProblem> {
    let kind = media_type(request.headers());
    match kind.as_str() {
        "application/json" => {
            let body = body::whole(request.into_body(), PICTURES_BYTES_MAX).await?;
            of_table(app, body::from_json(body).await?).await
        }
        "multipart/form-data" => of_form(app, request).await,
        _ => text(&body::whole(request.into_body(), body::TEXT_BYTES_MAX).await?),
    }
}

fn text(bytes: &[u8]) -> Result<String, HttpProblem> {
    let text = std::str::from_utf8(bytes);
    Ok(text.map_err(|error| HttpProblem::bad(format!("the job is not UTF-8: {error}")))?.to_owned())
}

/// The keys of a job as its text; pictures in them are kept.
pub async fn of_table(app: &App, mut table: Table) -> Result<String, HttpProblem> {
    keep_pictures(app, &mut table).await?;
    if let Some(Value::Table(matrix)) = table.get_mut("matrix") {
        keep_pictures(app, matrix).await?;
    }
    let text = blocking(move || toml::to_string(&table)).await?;
    text.map_err(|error| HttpProblem::bad(error.to_string()))
}

async fn keep_pictures(app: &App, table: &mut Table) -> Result<(), HttpProblem> {
    for key in PICTURE_KEYS {
        let values = match table.get_mut(key) {
            Some(Value::Array(values)) => values.iter_mut().collect(),
            Some(value) => vec![value],
            None => Vec::new(),
        };
        for value in values {
            let Some(content) = value.as_str().and_then(|text| text.strip_prefix("data:")) else {
                continue;
            };
            let content = data_url(content)
                .ok_or_else(|| HttpProblem::bad(format!("{key}: no data URL with base64 in it")))?;
            *value = Value::String(app.queue().keep_input(content).await?);
        }
    }
    Ok(())
}

/// The content of a data URL, without `data:`.
fn data_url(rest: &str) -> Option<Vec<u8>> {
    let (kind, encoded) = rest.split_once(',')?;
    kind.ends_with(";base64").then(|| STANDARD.decode(encoded.trim()).ok())?
}

/// A picture as other programs' clients send it: base64, alone or as a data URL.
pub fn base64_picture(text: &str) -> Result<Vec<u8>, HttpProblem> {
    let decoded = match text.strip_prefix("data:") {
        Some(rest) => data_url(rest),
        None => STANDARD.decode(text.trim()).ok(),
    };
    decoded.ok_or_else(|| {
        HttpProblem::bad("a picture is neither base64 nor a data URL with base64 in it")
    })
}

async fn of_form(app: &App, request: Request) -> Result<String, HttpProblem> {
    let parts = body::form(request, PICTURES_BYTES_MAX).await?;
    let job = parts.iter().find(|part| part.name == "job");
    let job = text(job.map(|part| &*part.content).unwrap_or_default())?;
    let mut table: Table = match job.trim_start().starts_with('{') {
        true => body::from_json(job.into()).await?,
        false => job.parse().map_err(|error| HttpProblem::bad(format!("job: {error}")))?,
    };
    for FormPart { name, content } in parts {
        if PICTURE_KEYS.contains(&name.as_str()) {
            let hash = app.queue().keep_input(content.to_vec()).await?;
            table.insert(name, Value::String(hash));
        }
    }
    of_table(app, table).await
}
