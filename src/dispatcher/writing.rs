//! The picture that is written while the device makes the next one.
//!
//! There is at most one, and its end is told before the next one's begins. So nothing piles up,
//! rows end in the order in which they began, and a kill costs no more than two decodes.

use std::future::pending;
use std::pin::pin;

use tokio::time::Instant;
use tracing::warn;

use super::Dispatcher;
use super::publish::Published;
use super::rendered::Rendered;
use super::watcher::{Reaction, Wake};
use crate::attempt::{Candidate, Failure, FailureKind, Made};
use crate::store::StoreError;

impl Dispatcher {
    /// Whether `next` may be rendered while the last picture is written. It needs the same worker,
    /// must never have taken one with it, and must not be wanted as proof that another picture is
    /// at fault.
    pub(super) fn may_go_beside(&self, next: Option<&Candidate>) -> bool {
        next.is_some_and(|next| {
            self.slot.model() == Some(next.render.model.as_str())
                && next.history.is_harmless()
                && self.suspicion.beside().is_none()
        })
    }

    /// Leaves the writing to the worker, or waits for it where the render is better left alone.
    pub(super) async fn begin_writing(&mut self, writing: Rendered) -> Result<(), StoreError> {
        // At most one picture is being written: usually the one before has ended by now.
        self.finish_writing().await?;
        let is_harmless = writing.candidate.history.is_harmless();
        self.writing = Some(writing);
        if !is_harmless {
            self.finish_writing().await?;
        }
        Ok(())
    }

    /// Waits until nothing is being written.
    pub(super) async fn finish_writing(&mut self) -> Result<(), StoreError> {
        let Some(mut writing) = self.writing.take() else { return Ok(()) };
        let mut nobody_cancels = pin!(pending());
        let end = loop {
            let wake = self.next_wake(&writing.watch, nobody_cancels.as_mut()).await?;
            match writing.watch.on(wake, Instant::now()) {
                Reaction::End(end) => break end,
                Reaction::Ignore(event) => warn!(?event, "ignored: no render is running"),
                _ => self.heartbeat.beat(),
            }
        };
        self.settle(writing, end).await?;
        self.status.send_modify(|status| status.render = None);
        self.idle_since = Instant::now();
        Ok(())
    }

    /// Lets the picture that is being written react to `wake`. Answers what the attempt beside it
    /// has to react to.
    pub(super) async fn note_writing(&mut self, wake: Wake) -> Result<Option<Wake>, StoreError> {
        let Some(mut writing) = self.writing.take() else { return Ok(Some(wake)) };
        let (own, others) = match wake {
            Wake::Worker(Ok(event)) if writing.watch.is_end(&event) => {
                (Some(Wake::Worker(Ok(event))), None)
            }
            Wake::Look => (Some(Wake::Look), Some(Wake::Look)),
            wake => (None, Some(wake)),
        };
        let end = match own.map(|wake| writing.watch.on(wake, Instant::now())) {
            Some(Reaction::End(end)) => end,
            _ => {
                self.writing = Some(writing);
                return Ok(others);
            }
        };
        let took_the_worker = matches!(&end, Err(failure) if failure.kind.took_the_worker());
        self.settle(writing, end).await?;
        let taken = || Wake::Taken("the worker could not write the picture before".to_owned());
        Ok(if took_the_worker { Some(taken()) } else { others })
    }

    /// Publishes the picture, or decides what comes of a writing that failed.
    pub(super) async fn settle(
        &mut self,
        mut writing: Rendered,
        end: Result<Made, Failure>,
    ) -> Result<(), StoreError> {
        let failure = match end {
            Err(failure) => failure,
            Ok(made) => match self.publish(&writing, made).await? {
                Published::Done => {
                    self.dead_ends.note_made(&writing.candidate, &writing.planned);
                    return Ok(());
                }
                Published::Refused(failure) => failure,
            },
        };
        let failure = match failure.kind {
            // Writing needs no device memory: a worker that says it ran out is not to be trusted.
            FailureKind::OutOfMemory { .. } => Failure { kind: FailureKind::WorkerDied, ..failure },
            _ => failure,
        };
        self.conclude_writing(&mut writing, &failure).await
    }

    /// The worker died at the next picture, while it was writing this one.
    pub(super) async fn lose_writing(&mut self) -> Result<(), StoreError> {
        let Some(mut writing) = self.writing.take() else { return Ok(()) };
        let failure = writing.watch.lost("the worker died at the next picture".to_owned());
        self.conclude_writing(&mut writing, &failure).await
    }

    async fn conclude_writing(
        &mut self,
        writing: &mut Rendered,
        failure: &Failure,
    ) -> Result<(), StoreError> {
        let Rendered { candidate, planned, attempt_id, watch, .. } = writing;
        self.conclude(candidate, *attempt_id, planned, failure, watch.cause()).await.map(drop)
    }
}
