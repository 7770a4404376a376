//! The faults of the grid, and how one is played on a run.

use std::time::Duration;

use sandbox::{Fault, Trigger};

use super::axes::Server;
use super::scene::Scene;
use crate::support::{Action, Outcome, until};

/// Longer than any run: whoever waits for it is ended before.
const FOR_EVER: Duration = Duration::from_mins(10);
/// What a registry may say that has what it says it has not.
const NOT_THERE: &str = r#"{"errors":[{"code":"NOT_FOUND","message":"not found"}]}"#;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ill {
    Reset,
    LostResponse,
    Internal,
    Unavailable,
    Throttled,
    Denial,
    NoSuchPage,
    CutBody,
    ContentType,
    Late,
    Kill,
    Terminate,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    /// For one request, and the run is patient.
    Once,
    /// From there on, and the run tries nothing twice.
    Stays,
}

/// One fault at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) server: Server,
    /// The request, from 1.
    pub(super) k: u64,
    pub(super) ill: Ill,
    pub(super) span: Span,
}

impl Ill {
    pub(super) const ALL: [Self; 12] = [
        Self::Reset,
        Self::LostResponse,
        Self::Internal,
        Self::Unavailable,
        Self::Throttled,
        Self::Denial,
        Self::NoSuchPage,
        Self::CutBody,
        Self::ContentType,
        Self::Late,
        Self::Kill,
        Self::Terminate,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "connection reset",
            Self::LostResponse => "answer lost after the effect",
            Self::Internal => "500",
            Self::Unavailable => "503",
            Self::Throttled => "429, `Retry-After`",
            Self::Denial => "404 in a registry's words",
            Self::NoSuchPage => "404 of a web server",
            Self::CutBody => "body cut",
            Self::ContentType => "wrong `Content-Type`",
            Self::Late => "slower than `timeout`",
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
        }
    }

    /// What ends a run is not there to stay.
    pub(super) fn spans(self) -> &'static [Span] {
        if matches!(self, Self::Late | Self::Kill | Self::Terminate) {
            &[Span::Once]
        } else {
            &[Span::Once, Span::Stays]
        }
    }

    fn fault(self, at: Trigger) -> Fault {
        match self {
            Self::Reset => at.reset(),
            Self::LostResponse => at.lost_response(),
            Self::Internal => at.status(500),
            Self::Unavailable => at.status(503),
            Self::Throttled => at.throttle(1),
            Self::Denial => at.answer(404, &[("content-type", "application/json")], NOT_THERE),
            Self::NoSuchPage => at.answer(404, &[("content-type", "text/html")], "<h1>Not Found"),
            Self::CutBody => at.cut_body(),
            Self::ContentType => at.wrong_content_type("text/html"),
            Self::Late | Self::Kill | Self::Terminate => at.delay(FOR_EVER),
        }
    }
}

impl Span {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Once => "one request",
            Self::Stays => "from there on, one try",
        }
    }
}

impl Cell {
    /// Runs `action` with this fault.
    pub(super) fn play(self, scene: &Scene, action: &Action) -> Outcome {
        let times = match self.span {
            Span::Once => 1,
            Span::Stays => u32::MAX,
        };
        let trigger = Fault::at(self.k).times(times);
        scene.fault(self.server, self.ill.fault(trigger));
        let action = action.clone();
        let action = match self.span {
            Span::Once => action,
            Span::Stays => action.input("max-attempts", "1"),
        };
        if self.ill == Ill::Late {
            let patience = scene.duration * 2 + Duration::from_millis(500);
            let timeout = format!("{}ms", patience.as_millis());
            return action.input("timeout", timeout).run();
        }
        if !matches!(self.ill, Ill::Kill | Ill::Terminate) {
            return action.run();
        }
        let mut running = action.begin();
        until("the fault", || {
            scene.hit(self.server).is_some() || running.has_ended()
        });
        if running.has_ended() {
            running.end()
        } else if self.ill == Ill::Kill {
            running.kill()
        } else {
            running.terminate()
        }
    }
}
