//! A connection that speaks HTTP/1.1.

use std::io;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Payload;
use crate::faults::Afterwards;
use crate::server::{Answer, Call, REQUEST_MAX_BYTES, Work};
use crate::traffic::Version;

/// Serves until the client closes the connection, or a fault ends it.
pub(crate) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, work: Work) {
    let service = service_fn(|request| answer(request, &work));
    // An error here is a client that closed the connection, or a requested fault.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

/// Answers a request. On an error hyper drops the connection without an answer, as some of the faults need.
async fn answer(request: Request<Incoming>, work: &Work) -> io::Result<Response<Payload>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, REQUEST_MAX_BYTES).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    match work.answer(&Call::new(Version::Http1, parts, body)).await {
        Answer::Response(mut response, afterwards) => {
            if afterwards != Afterwards::Nothing {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        }
        Answer::Closed | Answer::Reset(_) | Answer::Refused | Answer::Abandoned(_) => {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
