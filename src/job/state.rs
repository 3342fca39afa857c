//! The state machine of a render: one pure function for live code, recovery and tests.
//!
//! ```text
//!            Claimed                Finished
//!  queued ------------> running -------------> done
//!    |  ^                 | | |     Failed
//!    |  |   Interrupted   | | +--------------> failed
//!    |  +--- Orphaned ----+ |
//!    |       Deferred       |
//!    |     Cancelled        v
//!    +----------------> cancelled
//! ```
//! One that waits fails, too, where it is known that it would.
//! Ladder steps stay inside running, one attempt row each.

use serde::{Deserialize, Serialize};

use crate::spelling::spelled_by_serde;

/// Where a render stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// A state by the word that lists show, and that they are asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ShownState {
    Queued,
    /// Also what is stopping.
    Running,
    /// It was cancelled while it was running, and stops at its next step.
    Stopping,
    Done,
    Failed,
    Cancelled,
}

spelled_by_serde!(ShownState);

impl ShownState {
    /// The state that rows have.
    pub fn state(self) -> State {
        match self {
            ShownState::Queued => State::Queued,
            ShownState::Running | ShownState::Stopping => State::Running,
            ShownState::Done => State::Done,
            ShownState::Failed => State::Failed,
            ShownState::Cancelled => State::Cancelled,
        }
    }

    /// Whether only what was cancelled is meant.
    pub fn is_stopping(self) -> bool {
        self == ShownState::Stopping
    }
}

impl From<State> for ShownState {
    fn from(state: State) -> ShownState {
        match state {
            State::Queued => ShownState::Queued,
            State::Running => ShownState::Running,
            State::Done => ShownState::Done,
            State::Failed => ShownState::Failed,
            State::Cancelled => ShownState::Cancelled,
        }
    }
}

/// What may happen to a render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderEvent {
    /// The dispatcher took it; its attempt is written before the device is touched.
    Claimed,
    /// Its picture stands under its final name.
    Finished,
    /// It cannot be rendered; the reason is recorded.
    Failed,
    /// The user took it back.
    Cancelled,
    /// Our own shutdown stopped it: the attempt is not counted.
    Interrupted,
    /// It was running when the worker or the daemon died: the attempt is counted.
    Orphaned,
    /// It ran out of memory as we were stopping: the attempt is counted, and the next rung is for
    /// the next start.
    Deferred,
}

/// An event that must not happen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {state} render cannot be {event:?}")]
pub struct Illegal {
    pub state: State,
    pub event: RenderEvent,
}

impl State {
    /// The state after `event`, or [`Illegal`].
    pub fn after(self, event: RenderEvent) -> Result<State, Illegal> {
        match (self, event) {
            (State::Queued, RenderEvent::Claimed) => Ok(State::Running),
            (State::Queued, RenderEvent::Failed) => Ok(State::Failed),
            (State::Queued | State::Running, RenderEvent::Cancelled) => Ok(State::Cancelled),
            (State::Running, RenderEvent::Finished) => Ok(State::Done),
            (State::Running, RenderEvent::Failed) => Ok(State::Failed),
            (
                State::Running,
                RenderEvent::Interrupted | RenderEvent::Orphaned | RenderEvent::Deferred,
            ) => Ok(State::Queued),
            (state, event) => Err(Illegal { state, event }),
        }
    }

    /// True when nothing more can happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Done | State::Failed | State::Cancelled)
    }
}

spelled_by_serde!(State);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 5] =
        [State::Queued, State::Running, State::Done, State::Failed, State::Cancelled];
    const EVENTS: [RenderEvent; 7] = [
        RenderEvent::Claimed,
        RenderEvent::Finished,
        RenderEvent::Failed,
        RenderEvent::Cancelled,
        RenderEvent::Interrupted,
        RenderEvent::Orphaned,
        RenderEvent::Deferred,
    ];

    #[test]
    fn the_arrows_are_those_of_the_diagram() {
        let mut arrows = Vec::new();
        for state in STATES {
            for event in EVENTS {
                if let Ok(next) = state.after(event) {
                    arrows.push(format!("{state} {event:?} {next}"));
                }
            }
        }
        let expected = [
            "queued Claimed running",
            "queued Failed failed",
            "queued Cancelled cancelled",
            "running Finished done",
            "running Failed failed",
            "running Cancelled cancelled",
            "running Interrupted queued",
            "running Orphaned queued",
            "running Deferred queued",
        ];
        assert_eq!(arrows, expected);
    }

    #[test]
    fn an_illegal_event_is_named_with_its_state() {
        let illegal = State::Done.after(RenderEvent::Claimed).expect_err("done is final");
        assert_eq!(illegal.to_string(), "a done render cannot be Claimed");
    }

    proptest! {
        #[test]
        fn no_sequence_of_events_leaves_a_terminal_state_or_finishes_what_was_never_claimed(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..50),
        ) {
            let (mut state, mut claimed) = (State::Queued, false);
            for event in events {
                let Ok(next) = state.after(event) else { continue };
                prop_assert!(!state.is_terminal(), "{} left by {:?}", state, event);
                prop_assert!(next != State::Done || claimed);
                claimed |= event == RenderEvent::Claimed;
                state = next;
            }
        }
    }
}
