//! Misbehaviour on request: when a server is to misbehave, and how.

use std::time::Duration;

/// One order to misbehave: made by [`Fault::at`] or [`Fault::on`], finished by naming the misdeed.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) trigger: Trigger,
    pub(crate) misdeed: Misdeed,
}

/// When to misbehave; not yet how.
#[derive(Clone, Debug)]
pub struct Trigger {
    pub(crate) matches: Matches,
    pub(crate) times: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Matches {
    /// The k-th request from the moment the fault is given, and those after it.
    From(u64),
    Path {
        method: String,
        pattern: String,
    },
}

/// What happens instead of, or to, the right answer.
#[derive(Clone, Debug)]
pub(crate) enum Misdeed {
    Status(u16, Vec<(String, String)>, Vec<u8>),
    Reset,
    LostResponse,
    CutBody,
    StalledBody,
    WrongDigest,
    SetHeader(String, String),
    DropHeader(String),
    Delay(Duration),
    EndlessBody,
    ResetStream(u32),
    ResetStreamLate(u32),
    HangUp,
    HangUpLate,
    Refusal,
    Abandonment(u32),
    Afterwards(Afterwards),
}

/// What becomes of the connection, or of the rest, of a right answer. Over HTTP/1.1 the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Nothing,
    ResetBody(u32),
    GoAwayAmid,
    GoAway,
    CloseIdle,
    Silence,
}

impl Fault {
    /// The `k`-th request from now, counted from 1.
    pub fn at(k: u64) -> Trigger {
        Trigger {
            matches: Matches::From(k),
            times: 1,
        }
    }

    /// The next request with this method (`*`: any) and path. In the pattern `*` stands for any characters;
    /// it is compared with the path alone unless it holds a `?`.
    pub fn on(method: &str, pattern: &str) -> Trigger {
        Trigger {
            matches: Matches::Path {
                method: method.to_owned(),
                pattern: pattern.to_owned(),
            },
            times: 1,
        }
    }
}

impl Trigger {
    /// Not once but for `count` requests; `u32::MAX` is for ever.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = count;
        self
    }

    /// This status with an empty body, without the effect.
    pub fn status(self, code: u16) -> Fault {
        self.answer(code, &[], "")
    }

    /// This answer, without the effect.
    pub fn answer(self, code: u16, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.does(Misdeed::Status(code, headers, body.as_bytes().to_vec()))
    }

    /// An error in the registry's own form, without the effect.
    pub fn registry_error(self, status: u16, code: &str, message: &str) -> Fault {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
        self.answer(status, &[("content-type", "application/json")], &body)
    }

    /// 429 with `Retry-After`, as a registry that has had enough.
    pub fn throttle(self, retry_after_seconds: u32) -> Fault {
        let seconds = retry_after_seconds.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("retry-after", &seconds),
        ];
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}"#;
        self.answer(429, &headers, body)
    }

    /// 307 to another place, without the effect.
    pub fn redirect_to(self, url: &str) -> Fault {
        self.answer(307, &[("location", url)], "")
    }

    /// The connection is dropped before the request has its effect; with HTTP/2 the stream is reset (`INTERNAL_ERROR`).
    pub fn reset(self) -> Fault {
        self.does(Misdeed::Reset)
    }

    /// The request has its effect, then the connection is dropped without an answer; with HTTP/2 the stream is reset.
    pub fn lost_response(self) -> Fault {
        self.does(Misdeed::LostResponse)
    }

    /// Half of the body, then the connection is dropped; with HTTP/2 the stream is reset.
    pub fn cut_body(self) -> Fault {
        self.does(Misdeed::CutBody)
    }

    /// Half of the body, and no more for as long as the client waits.
    pub fn stalled_body(self) -> Fault {
        self.does(Misdeed::StalledBody)
    }

    /// Other bytes than were asked for, under the headers of the right ones; where an answer has no body, another
    /// `Docker-Content-Digest`.
    pub fn wrong_digest(self) -> Fault {
        self.does(Misdeed::WrongDigest)
    }

    /// The right bytes under another content type.
    pub fn wrong_content_type(self, content_type: &str) -> Fault {
        self.set_header("content-type", content_type)
    }

    /// The right answer with one header set to another value (it may be empty).
    pub fn set_header(self, name: &str, value: &str) -> Fault {
        self.does(Misdeed::SetHeader(name.to_owned(), value.to_owned()))
    }

    /// The right answer without one header.
    pub fn drop_header(self, name: &str) -> Fault {
        self.does(Misdeed::DropHeader(name.to_owned()))
    }

    /// The right answer, late. The effect comes at once.
    pub fn delay(self, time: Duration) -> Fault {
        self.does(Misdeed::Delay(time))
    }

    /// A body that never ends, under the status and headers of the right answer.
    pub fn endless_body(self) -> Fault {
        self.does(Misdeed::EndlessBody)
    }

    /// `RST_STREAM` with this code in place of an answer, without the effect.
    pub fn reset_stream(self, code: u32) -> Fault {
        self.does(Misdeed::ResetStream(code))
    }

    /// The request has its effect, then `RST_STREAM` with this code comes in place of an answer.
    pub fn reset_stream_late(self, code: u32) -> Fault {
        self.does(Misdeed::ResetStreamLate(code))
    }

    /// Half of the body, then `RST_STREAM` with this code.
    pub fn reset_body(self, code: u32) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::ResetBody(code)))
    }

    /// The connection is dropped with all that is under way there, before the request has its effect.
    pub fn hang_up(self) -> Fault {
        self.does(Misdeed::HangUp)
    }

    /// The request has its effect, then the connection is dropped with all that is under way there.
    pub fn hang_up_late(self) -> Fault {
        self.does(Misdeed::HangUpLate)
    }

    /// `GOAWAY` in place of an answer, without the effect: this request and those after it were not looked at, as it says.
    pub fn go_away_before(self) -> Fault {
        self.does(Misdeed::Refusal)
    }

    /// `GOAWAY` amid the right answer, which comes to its end.
    pub fn go_away_amid(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::GoAwayAmid))
    }

    /// `GOAWAY` after the right answer.
    pub fn go_away_after(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::GoAway))
    }

    /// The request has its effect, then `GOAWAY` with this code says that it was looked at, and the connection is closed
    /// without an answer.
    pub fn go_away_without_answer(self, code: u32) -> Fault {
        self.does(Misdeed::Abandonment(code))
    }

    /// The right answer; the connection is closed without a word once nothing is under way there.
    pub fn close_idle(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::CloseIdle))
    }

    /// The right answer; after it the connection stays, and nothing is ever read or written there again.
    pub fn silence_after(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::Silence))
    }

    fn does(self, misdeed: Misdeed) -> Fault {
        Fault {
            trigger: self,
            misdeed,
        }
    }
}

impl Matches {
    /// `age` counts the requests since the fault was given, this one included.
    pub(crate) fn holds(&self, age: u64, asked: &str, path: &str, path_and_query: &str) -> bool {
        match self {
            Self::From(first) => age >= *first,
            Self::Path { method, pattern } => {
                let subject = if pattern.contains('?') {
                    path_and_query
                } else {
                    path
                };
                (method == "*" || method.eq_ignore_ascii_case(asked)) && glob(pattern, subject)
            }
        }
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for any characters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len()).any(|start| rest.get(start..).is_some_and(|part| glob(tail, part)))
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_any_characters() {
        assert!(glob("*", ""));
        assert!(glob("/v2/*/manifests/*", "/v2/octo/app/manifests/v1"));
        assert!(glob("*/blobs/uploads/", "/v2/a/b/blobs/uploads/"));
        assert!(!glob("/v2/*/manifests/v1", "/v2/octo/app/manifests/v10"));
        assert!(!glob("/v2", "/v2/"));
    }
}
