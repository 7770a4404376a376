//! The faults of the grid, and how a fault is played on a run.

use std::time::Duration;

use sandbox::{Fault, Trigger};

use super::axes::Server;
use super::kinds::Kind;
use super::setup::Setup;
use crate::support::{Action, Outcome, until};

/// A size of headers that no client accepts.
const HEADERS_BYTES: usize = 1 << 19;

/// SPEC: RFC 9113, 7.
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A delay longer than any run: the waiting run is ended before.
const FOR_EVER: Duration = Duration::from_mins(10);
/// An error by which a registry denies content that it has.
const NOT_THERE: &str = r#"{"errors":[{"code":"NOT_FOUND","message":"not found"}]}"#;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GridFault {
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
    HangUp,
    HangUpLate,
    RefusedStream,
    CancelledStream,
    CancelledLate,
    Calm,
    CalmLate,
    GoAwayBefore,
    GoAwayAmid,
    GoAwayAfter,
    GoAwayWithoutAnswer,
    GoAwayWithCalm,
    CloseIdle,
    LongHeaders,
}

/// The duration of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    /// One request; the run retries.
    Once,
    /// Every request from there on; the run makes one attempt.
    Stays,
}

/// A fault at one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) server: Server,
    /// The number of the request, from 1.
    pub(super) k: u64,
    pub(super) fault: GridFault,
    pub(super) span: Span,
}

impl GridFault {
    /// Returns every fault on this kind of registry.
    pub(super) fn all(kind: Kind) -> Vec<Self> {
        if kind == Kind::Http2 {
            [&Self::ALL[..], &Self::OF_HTTP2].concat()
        } else {
            Self::ALL.to_vec()
        }
    }

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

    /// Faults of HTTP/2: the response is an error of the stream or of the connection.
    pub(super) const OF_HTTP2: [Self; 14] = [
        Self::HangUp,
        Self::HangUpLate,
        Self::RefusedStream,
        Self::CancelledStream,
        Self::CancelledLate,
        Self::Calm,
        Self::CalmLate,
        Self::GoAwayBefore,
        Self::GoAwayAmid,
        Self::GoAwayAfter,
        Self::GoAwayWithoutAnswer,
        Self::GoAwayWithCalm,
        Self::CloseIdle,
        Self::LongHeaders,
    ];

    /// True if the fault uses no attempt of the run: the response arrives, or the server states that it did not process the
    /// request.
    pub(super) fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::RefusedStream
                | Self::GoAwayBefore
                | Self::GoAwayAmid
                | Self::GoAwayAfter
                | Self::CloseIdle
        )
    }

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
            Self::HangUp => "connection dropped with all its streams",
            Self::HangUpLate => "connection dropped after the effect",
            Self::RefusedStream => "`REFUSED_STREAM`",
            Self::CancelledStream => "`CANCEL`",
            Self::CancelledLate => "`CANCEL` after the effect",
            Self::Calm => "`ENHANCE_YOUR_CALM`",
            Self::CalmLate => "`ENHANCE_YOUR_CALM` after the effect",
            Self::GoAwayBefore => "`GOAWAY`, the request not looked at",
            Self::GoAwayAmid => "`GOAWAY` amid the answer",
            Self::GoAwayAfter => "`GOAWAY` after the answer",
            Self::GoAwayWithoutAnswer => "`GOAWAY` after the effect, no answer",
            Self::GoAwayWithCalm => "`GOAWAY`, `ENHANCE_YOUR_CALM`, no answer",
            Self::CloseIdle => "connection closed once idle",
            Self::LongHeaders => "headers of 512 KiB",
        }
    }

    /// Returns the durations of the fault. A fault that ends the run cannot stay.
    pub(super) fn spans(self) -> &'static [Span] {
        if matches!(self, Self::Late | Self::Kill | Self::Terminate) {
            &[Span::Once]
        } else {
            &[Span::Once, Span::Stays]
        }
    }

    pub(super) fn fault(self, at: Trigger) -> Fault {
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
            Self::HangUp => at.hang_up(),
            Self::HangUpLate => at.hang_up_late(),
            Self::RefusedStream => at.reset_stream(REFUSED_STREAM),
            Self::CancelledStream => at.reset_stream(CANCEL),
            Self::CancelledLate => at.reset_stream_late(CANCEL),
            Self::Calm => at.reset_stream(ENHANCE_YOUR_CALM),
            Self::CalmLate => at.reset_stream_late(ENHANCE_YOUR_CALM),
            Self::GoAwayBefore => at.go_away_before(),
            Self::GoAwayAmid => at.go_away_amid(),
            Self::GoAwayAfter => at.go_away_after(),
            Self::GoAwayWithoutAnswer => at.go_away_without_answer(NO_ERROR),
            Self::GoAwayWithCalm => at.go_away_without_answer(ENHANCE_YOUR_CALM),
            Self::CloseIdle => at.close_idle(),
            Self::LongHeaders => at.set_header("x-long", &"x".repeat(HEADERS_BYTES)),
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
    pub(super) fn play(self, setup: &Setup, action: &Action) -> Outcome {
        let times = match self.span {
            Span::Once => 1,
            Span::Stays => u32::MAX,
        };
        let trigger = Fault::at(self.k).times(times);
        setup.fault(self.server, self.fault.fault(trigger));
        let action = action.clone();
        let action = match self.span {
            Span::Once => action,
            Span::Stays => action.input("max-attempts", "1"),
        };
        if self.fault == GridFault::Late {
            let patience = setup.duration * 2 + Duration::from_millis(500);
            let timeout = format!("{}ms", patience.as_millis());
            return action.input("timeout", timeout).run();
        }
        if !matches!(self.fault, GridFault::Kill | GridFault::Terminate) {
            return action.run();
        }
        let mut running = action.begin();
        until("the fault", || {
            setup.hit(self.server).is_some() || running.has_ended()
        });
        if running.has_ended() {
            running.end()
        } else if self.fault == GridFault::Kill {
            running.kill()
        } else {
            running.terminate()
        }
    }
}
