//! Files of pictures: opened inside the output folder and nowhere else, and sent piece by piece.

use std::fs::File;
use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::app::App;
use super::blocking::blocking;
use super::problem::HttpProblem;
use crate::output::PictureFile;
use crate::preview;
use crate::store::{HistoryRow, Selection};

/// Read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Pictures never change: their names hold for good, and their hash says so.
const CACHING: &str = "private, max-age=31536000, immutable";

/// The picture's file, or the part of it that is asked for.
pub async fn of_render(
    app: &App,
    render: Selection,
    headers: &HeaderMap,
) -> Result<Response, HttpProblem> {
    answer(app, &row(app, render).await?, headers).await
}

/// A small copy of a picture, as JPEG: what its worker has kept, or else made of it.
pub async fn thumbnail(app: &App, render: Selection) -> Result<Response, HttpProblem> {
    let row = row(app, render).await?;
    let absent = || HttpProblem::not_found("there is no picture");
    let (file, outputs) = (row.file().ok_or_else(absent)?, app.config().outputs.clone());
    let (known, thumbnails) = (app.pictures().clone(), app.thumbnails().clone());
    let made = blocking(move || {
        let picture = || known.open(&outputs, &file);
        thumbnails.blocking_lock().get(&file.sha256, picture)
    });
    let jpeg = made.await?.map_err(|error| HttpProblem::not_found(error.to_string()))?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, CACHING)];
    Ok((headers, jpeg).into_response())
}

/// How the picture that is being made looks so far.
pub async fn preview(app: &App, render: (i64, u32)) -> Result<Response, HttpProblem> {
    let jpeg = preview_jpeg(app, render).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

/// The same, as the JPEG's bytes.
pub async fn preview_jpeg(app: &App, (job, index): (i64, u32)) -> Result<Vec<u8>, HttpProblem> {
    let folder = app.config().previews_path();
    let is_made = app.status().render.is_some_and(|it| (it.job_id, it.index) == (job, index));
    match blocking(move || preview::read(&folder, job, index)).await? {
        Ok(jpeg) if is_made => Ok(jpeg),
        _ => Err(HttpProblem::not_found("there is no preview: see GET status for what is made")),
    }
}

/// What is recorded of one picture.
pub async fn row(app: &App, render: Selection) -> Result<HistoryRow, HttpProblem> {
    let rows = app.store().history(render).await?;
    rows.into_iter().next().ok_or_else(|| HttpProblem::not_found("there is no such picture"))
}

async fn answer(app: &App, row: &HistoryRow, headers: &HeaderMap) -> Result<Response, HttpProblem> {
    let PictureFile { path, sha256, .. } = recorded(row)?;
    let tag = format!("\"{sha256}\"");
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| is_among(known, &tag));
    let kind = media_type(&path)?;
    let (file, length) = opened(app, row).await?;
    let mut response = match (is_known, range(headers, &tag, length)) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Asked::Whole) => whole(file, length),
        (false, Asked::Part(first, last)) => part(file, (first, last), length).await?,
        (false, Asked::Nothing) => {
            let size = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, size).into_response()
        }
    };
    let told = response.headers_mut();
    told.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    told.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHING));
    told.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, value) in [(header::ETAG, tag), (header::CONTENT_DISPOSITION, disposition(&path))] {
        told.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    Ok(response)
}

fn recorded(row: &HistoryRow) -> Result<PictureFile, HttpProblem> {
    let absent = || HttpProblem::not_found(format!("there is no picture: it is {}", row.state));
    row.file().ok_or_else(absent)
}

/// A picture that was made, with its length.
pub async fn opened(app: &App, row: &HistoryRow) -> Result<(File, u64), HttpProblem> {
    let (file, outputs) = (recorded(row)?, app.config().outputs.clone());
    let (known, bytes) = (app.pictures().clone(), file.bytes);
    let opened = blocking(move || known.open(&outputs, &file)).await?;
    Ok((opened.map_err(gone)?, bytes))
}

/// It was made, and somebody has taken it away, or put something else in its place.
fn gone(error: io::Error) -> HttpProblem {
    let told = format!("the picture's file is not there as it was made: {error}");
    HttpProblem::new(StatusCode::GONE, "gone", told)
}

/// Of what we make, and nothing else: browsers run what others are.
fn media_type(path: &str) -> Result<&'static str, HttpProblem> {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("png") => Ok("image/png"),
        Some("jpg" | "jpeg") => Ok("image/jpeg"),
        Some("webp") => Ok("image/webp"),
        _ => Err(HttpProblem::not_found("it is no picture")),
    }
}

/// The name that it is saved under, whatever letters it has.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let escaped: String = name
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("inline; filename*=UTF-8''{escaped}")
}

fn is_among(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// A part that it does not have.
    Nothing,
}

/// A single range; several at once, and what is none, count as not said.
fn range(headers: &HeaderMap, tag: &str, length: u64) -> Asked {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if value(header::IF_RANGE).is_some_and(|known| known != tag) {
        return Asked::Whole;
    }
    let bytes = value(header::RANGE).and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = bytes.and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (Some(first), None) if last.is_empty() => (first, length.saturating_sub(1)),
        (None, Some(tail)) if first.is_empty() && tail > 0 => {
            (length.saturating_sub(tail), length.saturating_sub(1))
        }
        (None, Some(0)) if first.is_empty() => return Asked::Nothing,
        _ => return Asked::Whole,
    };
    if first < length { Asked::Part(first, last) } else { Asked::Nothing }
}

fn whole(file: File, length: u64) -> Response {
    ([(header::CONTENT_LENGTH, length.to_string())], pieces(file, length)).into_response()
}

async fn part(file: File, (first, last): (u64, u64), length: u64) -> Result<Response, HttpProblem> {
    let mut file = tokio::fs::File::from_std(file);
    file.seek(io::SeekFrom::Start(first)).await.map_err(gone)?;
    let headers = [
        (header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}")),
        (header::CONTENT_LENGTH, (last - first + 1).to_string()),
    ];
    let body = pieces(file.into_std().await, last - first + 1);
    Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
}

/// So many bytes of the file from where it stands, as they are taken.
fn pieces(file: File, length: u64) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::from_stream(stream::try_unfold((file, length), |(mut file, left)| async move {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        let read = if piece.is_empty() { 0 } else { file.read(&mut piece).await? };
        piece.truncate(read);
        let next = (file, left - read as u64);
        Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(piece), next)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Asked {
        let headers = [(header::RANGE, value.parse().expect("a value"))];
        range(&HeaderMap::from_iter(headers), "\"x\"", 100)
    }

    #[test]
    fn one_range_is_a_part_and_whatever_else_is_the_whole() {
        assert_eq!(asked("bytes=0-9"), Asked::Part(0, 9));
        assert_eq!(asked("bytes=90-"), Asked::Part(90, 99));
        assert_eq!(asked("bytes=90-500"), Asked::Part(90, 99));
        assert_eq!(asked("bytes=-10"), Asked::Part(90, 99));
        assert_eq!(asked("bytes=-500"), Asked::Part(0, 99));
        for nothing in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(asked(nothing), Asked::Nothing, "{nothing}");
        }
        for other in ["bytes=0-1,3-4", "bytes=9-0", "bytes=-", "bytes=a-b", "lines=0-1", ""] {
            assert_eq!(asked(other), Asked::Whole, "{other}");
        }
    }

    #[test]
    fn a_name_of_any_letters_is_a_header() {
        assert_eq!(
            disposition("a/b/狐 \"x\".png"),
            "inline; filename*=UTF-8''%E7%8B%90%20%22x%22.png"
        );
    }
}
