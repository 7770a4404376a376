//! Runs a request against registry and Sigstore. Each command has a file of its name, which reads as its steps. Every
//! effect can be repeated: the next run finds and completes the remains of a killed run. `tags` reads tags and writes
//! them last.

mod children;
mod cleanup;
mod error;
mod images_text;
mod known_signatures;
mod new_repository;
mod preflight;
mod preflight_error;
mod present;
mod publish;
mod publish_source;
mod read_once;
mod seal;
mod sign;
mod source_gate;
mod subjects;
mod tags;
mod verify;
mod versions;
mod vouching;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use crate::context::{Context, RecordWriter};
use crate::domain::chain_text;
use crate::inputs::Request;
use crate::outcome::Outcome;
use crate::registry::Progress;
use crate::signatures::{SigningContext, VerifyingContext};

pub use error::{CommandError, Interruption, Limit, Refused, RefusedSubject, TagError};
pub use preflight_error::{PreflightError, UnvouchedImages};

/// The limits that end a run from outside.
pub struct RunLimits<S> {
    /// The time limit of the run.
    pub timeout: Duration,
    /// Resolves to the name of a signal when that signal ends the run.
    pub stop: S,
}

/// The interval of progress reports while large blobs are copied.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Reports the progress of large blobs while it is polled.
pub(crate) async fn report_progress(context: &Context, every: Duration) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        if let Some(Progress { blobs, bytes, of }) = context.registry.progress() {
            let [bytes, of] = [bytes, of].map(|bytes| bytes / 1_000_000);
            let are = if blobs == 1 { "blob is" } else { "blobs are" };
            let text = format!("{blobs} large {are} being copied: {bytes} of {of} MB");
            context.events.info(text);
        }
    }
}

/// Returns the uploads that were cut short as text.
fn uploads_text(Progress { blobs, bytes, of }: Progress) -> String {
    let [bytes, of] = [bytes, of].map(|bytes| bytes / 1_000_000);
    let blob = if blobs == 1 { "blob" } else { "blobs" };
    format!("{blobs} large {blob} ({bytes} of {of} MB were sent)")
}

/// The outcome of a command, and the error that stopped it, if any. Neither hides the other.
#[derive(Debug)]
pub struct CommandResult {
    /// The findings and changes of the run.
    pub outcome: Outcome,
    /// The error that stopped it.
    pub failure: Option<CommandError>,
}

/// Returns the means to verify alone.
async fn verifying(
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
) -> Result<VerifyingContext, CommandError> {
    Ok(signing_context.await?.verifying)
}

/// Executes a request. The result has the outcome beside the failure: tags that moved before a failure have moved.
pub async fn execute(
    context: &Context,
    request: &Request,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
    record_writer: &RecordWriter,
    limits: RunLimits<impl Future<Output = &'static str>>,
) -> CommandResult {
    let mut outcome = Outcome::default();
    match request {
        Request::Seal(_) | Request::Sign(_) | Request::Publish(_) => {
            record_writer.report_earlier(context);
        }
        // These commands write no record. `cleanup` itself reports a missing one.
        Request::Verify(_) | Request::Preflight(_) => record_writer.report_unusable(context),
        Request::Cleanup(_) => (),
    }
    let command = async {
        match request {
            Request::Seal(seal) => {
                seal::seal(context, seal, signing_context, record_writer, &mut outcome).await
            }
            Request::Sign(sign) => {
                sign::sign(context, sign, signing_context, record_writer, &mut outcome).await
            }
            Request::Verify(verify) => {
                let verifying = verifying(signing_context);
                verify::verify(context, verify, verifying, record_writer, &mut outcome).await
            }
            Request::Preflight(request) => {
                let verifying = verifying(signing_context);
                preflight::preflight(context, request, verifying, &mut outcome).await
            }
            Request::Publish(publish) => {
                let verifying = verifying(signing_context);
                publish::publish(context, publish, verifying, record_writer, &mut outcome).await
            }
            Request::Cleanup(request) => {
                cleanup::cleanup(context, request, record_writer, &mut outcome).await
            }
        }
    };
    let mut command = Box::pin(command);
    let ended = tokio::select! {
        ended = tokio::time::timeout(limits.timeout, command.as_mut()) => ended.map_err(|_| Limit::Timeout),
        signal = limits.stop => Err(Limit::Signal(signal)),
        never = report_progress(context, PROGRESS_EVERY) => match never {},
    };
    let uploads = context.registry.progress().map(uploads_text);
    drop(command);
    // The change that is cut short is in the record. Results of others may not be.
    let saved = record_writer.save_last_results(&outcome);
    let ended = ended.unwrap_or_else(|limit| {
        let interruption = Interruption {
            limit,
            step: context.events.last_step(),
            record: record_writer.needed_digest(),
            uploads,
        };
        Err(interruption.into())
    });
    // A successful run may also have opened upload sessions that it did not use.
    context.registry.cancel_uploads().await;
    let failure = match (ended, saved) {
        (Ok(()), saved) => saved.err().map(CommandError::from),
        (Err(error), Ok(())) => Some(error),
        (Err(error), Err(unsaved)) => {
            let unsaved = chain_text(&unsaved);
            if unsaved != chain_text(&error) {
                context.events.warn(unsaved);
            }
            Some(error)
        }
    };
    CommandResult { outcome, failure }
}
