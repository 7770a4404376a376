//! A connection that speaks HTTP/2, with its own features: stream resets, `GOAWAY`, windows.

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::body::Payload;
use crate::faults::Afterwards;
use crate::injection::{Injected, Injection};
use crate::server::{Answer, Call, REQUEST_MAX_BYTES, Work};
use crate::traffic::Version;
use crate::transport::Transport;

const HEADERS_MAX_BYTES: u32 = 1 << 20;

type Accepted = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// A request of a stream to its connection.
enum Order {
    /// Send `GOAWAY` with this last stream and code, then signal the sender.
    GoAway(u32, Reason, oneshot::Sender<()>),
    Close,
    CloseIdle,
    Silence,
}

/// A stream's view of its connection.
#[derive(Clone)]
struct Stream {
    work: Work,
    orders: mpsc::UnboundedSender<Order>,
    admitted: Arc<Mutex<Admitted>>,
}

/// The streams that may have an effect.
#[derive(Default)]
struct Admitted {
    /// The streams that had an effect.
    done: BTreeSet<u32>,
    /// The last stream that may have one, once the connection accepts no more.
    last: Option<u32>,
}

/// Serves until the client closes the connection, or a fault ends it.
pub(crate) async fn serve<IO>(io: IO, transport: Transport, work: Work)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let injection = Injection::default();
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(HEADERS_MAX_BYTES);
    if let Some(streams) = transport.streams_max {
        builder.max_concurrent_streams(streams);
    }
    if let Some(bytes) = transport.window_bytes {
        builder.initial_window_size(bytes);
    }
    let handshake = builder.handshake(Injected::new(io, injection.clone()));
    // An error is a client that closed the connection.
    if let Ok(mut connection) = handshake.await {
        run(&mut connection, &injection, work).await;
    }
}

async fn run<IO>(connection: &mut Connection<IO, Bytes>, injection: &Injection, work: Work)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (orders, mut ordered) = mpsc::unbounded_channel();
    let stream = Stream {
        work,
        orders,
        admitted: Arc::default(),
    };
    // Dropped on return: a stream without an answer stays pending until its connection ends.
    let mut streams = JoinSet::new();
    let mut said = Vec::new();
    let mut is_last = false;
    loop {
        let event = poll_fn(|context| {
            while let Poll::Ready(Some(_)) = streams.poll_join_next(context) {}
            let event = next(connection, &mut ordered, context);
            if injection.is_sent() {
                // A receiver that is gone was dropped with its stream.
                said.drain(..)
                    .for_each(|to: oneshot::Sender<()>| to.send(()).unwrap_or(()));
            }
            if event.is_pending() && is_last && streams.is_empty() {
                return Poll::Ready(Err(Order::Close));
            }
            event
        });
        match event.await {
            Ok(Some(Ok((request, respond)))) => {
                streams.spawn(stream.clone().answer(request, respond));
            }
            Ok(_) | Err(Order::Close) => return,
            Err(Order::GoAway(last, reason, to)) => {
                injection.go_away(last, reason);
                said.push(to);
            }
            Err(Order::CloseIdle) => is_last = true,
            Err(Order::Silence) => pending().await,
        }
    }
}

/// Returns the next order or the next stream; orders go first.
fn next<IO>(
    connection: &mut Connection<IO, Bytes>,
    ordered: &mut mpsc::UnboundedReceiver<Order>,
    context: &mut Context<'_>,
) -> Poll<Result<Accepted, Order>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if let Poll::Ready(Some(order)) = ordered.poll_recv(context) {
        return Poll::Ready(Err(order));
    }
    connection.poll_accept(context).map(Ok)
}

impl Stream {
    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let id = respond.stream_id().as_u32();
        let (parts, body) = request.into_parts();
        let Some(body) = read(body).await else {
            return;
        };
        if !self.admits(id) {
            // The client expects no answer: `GOAWAY` stated that this stream is not processed.
            pending::<()>().await;
        }
        let call = Call::new(Version::Http2, parts, body);
        match self.work.answer(&call).await {
            Answer::Response(response, afterwards) => {
                // An error is a client that has cancelled the request.
                drop(self.send(response, afterwards, &mut respond).await);
            }
            Answer::Closed => self.order(Order::Close).await,
            Answer::Reset(code) => respond.send_reset(code.into()),
            Answer::Refused => self.refuse(id, &mut respond).await,
            Answer::Abandoned(code) => {
                self.go_away(code.into()).await;
                self.order(Order::Close).await;
            }
        }
    }

    /// Reports whether a stream may have an effect, and records that it has one.
    fn admits(&self, id: u32) -> bool {
        let mut admitted = self.admitted();
        let admits = admitted.last.is_none_or(|last| id <= last);
        if admits {
            admitted.done.insert(id);
        }
        admits
    }

    /// States that `id` and later streams are not processed. If a later stream already had an effect, refuses only `id`.
    async fn refuse(&self, id: u32, respond: &mut SendResponse<Bytes>) {
        let is_newest = {
            let mut admitted = self.admitted();
            admitted.done.remove(&id);
            let is_newest = admitted.done.last().is_none_or(|last| *last < id);
            if is_newest {
                admitted.last = Some(id.saturating_sub(2));
            }
            is_newest
        };
        if is_newest {
            self.say_go_away(id.saturating_sub(2), Reason::NO_ERROR)
                .await;
            pending::<()>().await;
        } else {
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }

    /// Accepts no more streams.
    async fn go_away(&self, reason: Reason) {
        let last = {
            let mut admitted = self.admitted();
            let last = admitted.done.last().copied().unwrap_or_default();
            *admitted.last.get_or_insert(last)
        };
        self.say_go_away(last, reason).await;
    }

    async fn say_go_away(&self, last: u32, reason: Reason) {
        let (to, said) = oneshot::channel();
        // Both fail only if the connection is gone.
        drop(self.orders.send(Order::GoAway(last, reason, to)));
        drop(said.await);
    }

    /// Sends an order. This stream then ends with its connection.
    async fn order(&self, order: Order) {
        drop(self.orders.send(order));
        pending::<()>().await;
    }

    async fn send(
        &self,
        response: Response<Payload>,
        afterwards: Afterwards,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let (parts, mut payload) = response.into_parts();
        let head = Response::from_parts(parts, ());
        if payload.is_end_stream() {
            if afterwards == Afterwards::GoAwayAmid {
                self.go_away(Reason::NO_ERROR).await;
            }
            respond.send_response(head, true)?;
        } else {
            let mut stream = respond.send_response(head, false)?;
            while let Some(frame) = payload.frame().await {
                let bytes = frame.map(|frame| frame.into_data().unwrap_or_default());
                match bytes {
                    Ok(bytes) if afterwards == Afterwards::GoAwayAmid => {
                        let (first, rest) = bytes.split_at(bytes.len() / 2);
                        send(&mut stream, Bytes::copy_from_slice(first)).await?;
                        self.go_away(Reason::NO_ERROR).await;
                        send(&mut stream, Bytes::copy_from_slice(rest)).await?;
                    }
                    Ok(bytes) => send(&mut stream, bytes).await?,
                    Err(_) => {
                        stream.send_reset(cut(afterwards));
                        return Ok(());
                    }
                }
            }
            stream.send_data(Bytes::new(), true)?;
        }
        match afterwards {
            Afterwards::GoAway => self.go_away(Reason::NO_ERROR).await,
            Afterwards::CloseIdle => drop(self.orders.send(Order::CloseIdle)),
            Afterwards::Silence => {
                // Queued frames are sent first.
                tokio::task::yield_now().await;
                self.order(Order::Silence).await;
            }
            Afterwards::Nothing | Afterwards::ResetBody(_) | Afterwards::GoAwayAmid => (),
        }
        Ok(())
    }

    fn admitted(&self) -> MutexGuard<'_, Admitted> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the reset code of a cut body.
fn cut(afterwards: Afterwards) -> Reason {
    if let Afterwards::ResetBody(code) = afterwards {
        code.into()
    } else {
        Reason::INTERNAL_ERROR
    }
}

/// Reads all of a request's body; `None` if it breaks off.
async fn read(mut body: RecvStream) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        bytes.extend_from_slice(&piece);
        if bytes.len() > REQUEST_MAX_BYTES {
            return None;
        }
    }
    Some(bytes.freeze())
}

/// Sends `bytes` as fast as the client accepts them.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        if stream.capacity() == 0 {
            let granted = poll_fn(|context| stream.poll_capacity(context)).await;
            granted.ok_or(Reason::CANCEL)??;
        }
        let length = stream.capacity().min(bytes.len());
        stream.send_data(bytes.split_to(length), false)?;
    }
    Ok(())
}
