//! The one place where a render's state changes, and the log of what happened.

use super::totals::add_render;
use super::writing::Writing;
use super::{Result, StoreError};
use crate::attempt::ErrorCode;
use crate::job::event::EventKind;
use crate::job::state::{RenderEvent, State};

/// A render as read inside the transaction that is to move it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub render_id: i64,
    pub job_id: i64,
    pub state: State,
}

/// What a new state comes with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facts<'a> {
    Nothing,
    /// Failed, and why.
    Error {
        code: ErrorCode,
        message: &'a str,
    },
    /// Done.
    Picture {
        degraded: bool,
    },
    /// Cancelled otherwise than by a user's word, and why.
    Cancelled {
        reason: &'a str,
    },
}

/// Moves a render to the state after `event`, or answers [`StoreError::Illegal`].
pub(super) async fn transition(
    transaction: &mut Writing,
    render: Current,
    event: RenderEvent,
    facts: Facts<'_>,
    now_ms: i64,
) -> Result<()> {
    let Current { render_id, state, .. } = render;
    let next = state.after(event).map_err(|illegal| StoreError::Illegal { render_id, illegal })?;
    let error = match facts {
        Facts::Error { code, message } => Some((code, message)),
        _ => None,
    };
    let cancel_reason = match facts {
        Facts::Cancelled { reason } => Some(reason),
        _ if next == State::Cancelled => Some(by_the_user(transaction, render).await?),
        _ => None,
    };
    let changed = sqlx::query(
        "UPDATE renders SET state = ?, finished_at_ms = ?, error_code = ?, error = ?, degraded = ?, \
         cancel_reason = ? WHERE id = ? AND state = ?",
    )
    .bind(next)
    .bind(next.is_terminal().then_some(now_ms))
    .bind(error.map(|(code, _)| code))
    .bind(error.map(|(_, message)| message))
    .bind(matches!(facts, Facts::Picture { degraded: true }))
    .bind(cancel_reason)
    .bind(render_id)
    .bind(state)
    .execute(&mut **transaction)
    .await?
    .rows_affected();
    // The state was read under the write lock that we still hold.
    if changed != 1 {
        return Err(sqlx::Error::RowNotFound.into());
    }
    if next.is_terminal() {
        add_render(transaction, next).await?;
    }
    if next == State::Done {
        pass_star_on(transaction, render).await?;
    }
    Ok(())
}

/// A picture that was made again, because the file was lost, has the star that the lost one had.
async fn pass_star_on(transaction: &mut Writing, render: Current) -> sqlx::Result<()> {
    let sql = "UPDATE renders SET starred = 1 WHERE id = ?1 AND EXISTS (SELECT 1 FROM renders s \
               WHERE s.starred = 1 AND s.position = renders.position AND s.job_id IN (\
               WITH RECURSIVE before (id) AS (SELECT retry_of FROM jobs WHERE id = ?2 \
               UNION SELECT j.retry_of FROM jobs j JOIN before b ON j.id = b.id) \
               SELECT id FROM before))";
    let query = sqlx::query(sql).bind(render.render_id).bind(render.job_id);
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Why a render is cancelled where nothing else is said.
async fn by_the_user(transaction: &mut Writing, render: Current) -> sqlx::Result<&'static str> {
    if render.state == State::Running {
        return Ok("by the user, while it was rendered");
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM attempts WHERE render_id = ?)";
    let query = sqlx::query_scalar(sql).bind(render.render_id);
    Ok(match query.fetch_one(&mut **transaction).await? {
        true => "by the user, before it was begun again",
        false => "by the user, before it was begun",
    })
}

/// What an entry of the log is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Queue,
    Job(i64),
    Render(Current),
    Attempt(Current, i64),
}

/// Adds an entry to the log, in the transaction of what it tells.
pub(super) async fn log(
    transaction: &mut Writing,
    kind: EventKind,
    about: About,
    detail: &str,
    now_ms: i64,
) -> sqlx::Result<()> {
    let (job_id, render_id, attempt_id) = match about {
        About::Queue => (None, None, None),
        About::Job(job_id) => (Some(job_id), None, None),
        About::Render(render) => (Some(render.job_id), Some(render.render_id), None),
        About::Attempt(render, attempt_id) => {
            (Some(render.job_id), Some(render.render_id), Some(attempt_id))
        }
    };
    sqlx::query("INSERT INTO events (at_ms, kind, job_id, render_id, attempt_id, detail) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(now_ms)
        .bind(kind)
        .bind(job_id)
        .bind(render_id)
        .bind(attempt_id)
        .bind(detail)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
