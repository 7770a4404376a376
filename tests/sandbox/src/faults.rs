//! Faults on request: the requests that fail, and the way they fail.

use std::time::Duration;

use crate::server::Call;

/// One fault: made by [`Fault::at`] or [`Fault::on`], completed by a method that sets the misbehaviour.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) trigger: Trigger,
    pub(crate) misdeed: Misdeed,
}

/// The trigger of a fault, without the misbehaviour.
#[derive(Clone, Debug)]
pub struct Trigger {
    pub(crate) matches: Matches,
    pub(crate) times: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Matches {
    /// The k-th request since the fault was added, and those after it.
    From(u64),
    /// Requests that arrive while this many others have no answer.
    Beyond(usize),
    Path {
        method: String,
        pattern: String,
    },
}

/// The misbehaviour instead of the right answer, or applied to it.
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
    CutRequest,
    Afterwards(Afterwards),
}

/// The treatment of the connection, or of the rest, of a right answer. Over HTTP/1.1 the connection is closed.
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
    /// Matches the `k`-th request from now, counted from 1.
    pub fn at(k: u64) -> Trigger {
        Trigger {
            matches: Matches::From(k),
            times: 1,
        }
    }

    /// Matches the next request that arrives while `others` requests have no answer, like a registry that serves only so many
    /// at once.
    pub fn beyond(others: usize) -> Trigger {
        Trigger {
            matches: Matches::Beyond(others),
            times: 1,
        }
    }

    /// Matches the next request with this method (`*`: any) and path. In the pattern `*` stands for any characters. It is
    /// compared with the path alone unless it contains a `?`.
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
    /// Repeats the fault for `count` requests; `u32::MAX` means always.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = count;
        self
    }

    /// Answers with this status and an empty body. The request has no effect.
    pub fn status(self, code: u16) -> Fault {
        self.answer(code, &[], "")
    }

    /// Sends this answer. The request has no effect.
    pub fn answer(self, code: u16, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.does(Misdeed::Status(code, headers, body.as_bytes().to_vec()))
    }

    /// Answers with an error in the registry's own form. The request has no effect.
    pub fn registry_error(self, status: u16, code: &str, message: &str) -> Fault {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
        self.answer(status, &[("content-type", "application/json")], &body)
    }

    /// Answers 429 with `Retry-After`, like a registry that limits requests.
    pub fn throttle(self, retry_after_seconds: u32) -> Fault {
        let seconds = retry_after_seconds.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("retry-after", &seconds),
        ];
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}"#;
        self.answer(429, &headers, body)
    }

    /// Redirects with 307 to another address. The request has no effect.
    pub fn redirect_to(self, url: &str) -> Fault {
        self.redirect(307, url)
    }

    /// Redirects with this status to an absolute or relative location. The request has no effect.
    pub fn redirect(self, status: u16, location: &str) -> Fault {
        self.answer(status, &[("location", location)], "")
    }

    /// Drops the connection before the request has its effect; with HTTP/2 resets the stream (`INTERNAL_ERROR`).
    pub fn reset(self) -> Fault {
        self.does(Misdeed::Reset)
    }

    /// Drops the connection without an answer, after the request has had its effect; with HTTP/2 resets the stream.
    pub fn lost_response(self) -> Fault {
        self.does(Misdeed::LostResponse)
    }

    /// Lets the first half of the request's body have its effect, then drops the connection without an answer; with HTTP/2
    /// resets the stream.
    pub fn cut_request(self) -> Fault {
        self.does(Misdeed::CutRequest)
    }

    /// Sends half of the body, then drops the connection; with HTTP/2 resets the stream.
    pub fn cut_body(self) -> Fault {
        self.does(Misdeed::CutBody)
    }

    /// Sends half of the body, and nothing more while the client waits.
    pub fn stalled_body(self) -> Fault {
        self.does(Misdeed::StalledBody)
    }

    /// Sends other bytes than requested, under the headers of the right ones. An answer without a body gets another
    /// `Docker-Content-Digest`.
    pub fn wrong_digest(self) -> Fault {
        self.does(Misdeed::WrongDigest)
    }

    /// Sends the right bytes with another content type.
    pub fn wrong_content_type(self, content_type: &str) -> Fault {
        self.set_header("content-type", content_type)
    }

    /// Sends the right answer with one header set to another value (it may be empty).
    pub fn set_header(self, name: &str, value: &str) -> Fault {
        self.does(Misdeed::SetHeader(name.to_owned(), value.to_owned()))
    }

    /// Sends the right answer without one header.
    pub fn drop_header(self, name: &str) -> Fault {
        self.does(Misdeed::DropHeader(name.to_owned()))
    }

    /// Sends the right answer late. The effect is immediate.
    pub fn delay(self, time: Duration) -> Fault {
        self.does(Misdeed::Delay(time))
    }

    /// Sends an endless body, under the status and headers of the right answer.
    pub fn endless_body(self) -> Fault {
        self.does(Misdeed::EndlessBody)
    }

    /// Sends `RST_STREAM` with this code instead of an answer. The request has no effect.
    pub fn reset_stream(self, code: u32) -> Fault {
        self.does(Misdeed::ResetStream(code))
    }

    /// Sends `RST_STREAM` with this code instead of an answer, after the request has had its effect.
    pub fn reset_stream_late(self, code: u32) -> Fault {
        self.does(Misdeed::ResetStreamLate(code))
    }

    /// Sends half of the body, then `RST_STREAM` with this code.
    pub fn reset_body(self, code: u32) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::ResetBody(code)))
    }

    /// Drops the connection with all its open requests, before this request has its effect.
    pub fn hang_up(self) -> Fault {
        self.does(Misdeed::HangUp)
    }

    /// Drops the connection with all its open requests, after this request has had its effect.
    pub fn hang_up_late(self) -> Fault {
        self.does(Misdeed::HangUpLate)
    }

    /// Sends `GOAWAY` instead of an answer. It states that this request and later ones were not processed; none has an
    /// effect.
    pub fn go_away_before(self) -> Fault {
        self.does(Misdeed::Refusal)
    }

    /// Sends `GOAWAY` in the middle of the right answer, which is completed.
    pub fn go_away_amid(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::GoAwayAmid))
    }

    /// Sends `GOAWAY` after the right answer.
    pub fn go_away_after(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::GoAway))
    }

    /// Lets the request have its effect, then sends `GOAWAY` with this code, which states that the request was processed.
    /// Closes the connection without an answer.
    pub fn go_away_without_answer(self, code: u32) -> Fault {
        self.does(Misdeed::Abandonment(code))
    }

    /// Sends the right answer. Closes the connection without notice once no request is open.
    pub fn close_idle(self) -> Fault {
        self.does(Misdeed::Afterwards(Afterwards::CloseIdle))
    }

    /// Sends the right answer. Then the connection stays open, but nothing is read or written on it again.
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
    /// Reports whether a request triggers the fault. `age` counts the requests since the fault was added, this one included;
    /// `others` counts those without an answer, without this one.
    pub(crate) fn holds(&self, age: u64, others: usize, call: &Call) -> bool {
        match self {
            Self::From(first) => age >= *first,
            Self::Beyond(most) => others >= *most,
            Self::Path { method, pattern } => {
                let subject = if pattern.contains('?') {
                    call.target()
                } else {
                    call.path.clone()
                };
                (method == "*" || method.eq_ignore_ascii_case(&call.method))
                    && glob(pattern, &subject)
            }
        }
    }
}

/// True if `text` matches `pattern`, in which `*` stands for any characters.
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
