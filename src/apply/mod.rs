//! Runs a request against registry and Sigstore. Only this module stores bundles in a registry, or changes anything.
//! Every effect can be repeated: the next run finds and completes the remains of a killed run. Each command has a file
//! of its name. `signatures` finds, makes and stores signatures; `copying` copies missing images. `tags` reads tags and
//! writes them last; `receipt` and `ledger` keep the results, for report and record.

mod children;
mod cleanup;
mod context;
mod copying;
mod error;
mod ledger;
mod preflight;
mod publish;
mod receipt;
mod seal;
mod sign;
mod signatures;
mod source_gate;
mod subjects;
mod survey;
mod tags;
mod unseen;
mod verify;
mod versions;
mod vouching;
mod withdrawal;

#[cfg(test)]
pub(crate) mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use crate::inputs::Request;
use crate::registry::Progress;

pub use context::{Context, LongLists};
pub use error::{ApplyError, Refused, RefusedSubject};
pub use ledger::Ledger;
pub use preflight::{PreflightError, PreflightReceipt, Unvouched};
pub use receipt::{
    IndexReceipt, Origin, Outcome, Place, PlaceReceipt, PlaceState, Receipt, ReferrerReceipt,
    SignatureReceipt, Subject, TagReceipt,
};
pub use signatures::signer::{Authority, GITHUB_ISSUER};
pub use withdrawal::{CleanupEnd, CleanupReceipt, CleanupTag};

/// The limits that end a run from outside.
pub struct Limits<S> {
    /// The time limit of the run.
    pub timeout: Duration,
    /// Resolves to the name of a signal when that signal ends the run.
    pub stop: S,
}

/// The interval of progress reports while large blobs are copied.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Reports the progress of large blobs while it is polled.
async fn tell_progress(context: &Context, every: Duration) -> Infallible {
    loop {
        tokio::time::sleep(every).await;
        if let Some(Progress { blobs, bytes, of }) = context.registry.progress() {
            let [bytes, of] = [bytes, of].map(|bytes| bytes / 1_000_000);
            let are = if blobs == 1 { "blob is" } else { "blobs are" };
            let text = format!("{blobs} large {are} being copied: {bytes} of {of} MB");
            context.events.note(text);
        }
    }
}

/// Executes a request. The outcome has the receipt beside the failure, since tags that moved before a failure have
/// moved.
pub async fn apply(
    context: &Context,
    request: &Request,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    limits: Limits<impl Future<Output = &'static str>>,
) -> Outcome {
    let mut receipt = Receipt::default();
    match request {
        Request::Seal(_) | Request::Sign(_) | Request::Publish(_) => ledger.tell_earlier(context),
        // These commands write no record. `cleanup` itself reports a missing one.
        Request::Verify(_) | Request::Preflight(_) => ledger.tell_unusable(context),
        Request::Cleanup(_) => (),
    }
    let walk = async {
        match request {
            Request::Seal(seal) => seal::seal(context, seal, authority, ledger, &mut receipt).await,
            Request::Sign(sign) => sign::sign(context, sign, authority, ledger, &mut receipt).await,
            Request::Verify(verify) => {
                verify::verify(context, verify, authority, ledger, &mut receipt).await
            }
            Request::Preflight(request) => {
                preflight::preflight(context, request, authority, &mut receipt).await
            }
            Request::Publish(publish) => {
                publish::publish(context, publish, authority, ledger, &mut receipt).await
            }
            Request::Cleanup(request) => {
                cleanup::cleanup(context, request, ledger, &mut receipt).await
            }
        }
    };
    // The record needs no final save here: it was written before the change that is cut short.
    let step = || context.events.last_phase();
    let ended = tokio::select! {
        ended = tokio::time::timeout(limits.timeout, walk) => {
            ended.unwrap_or_else(|_| Err(ApplyError::Timeout { step: step() }))
        }
        signal = limits.stop => Err(ApplyError::Terminated { signal, step: step() }),
        never = tell_progress(context, PROGRESS_EVERY) => match never {},
    };
    // A successful run may also have opened upload sessions that it did not use.
    context.registry.cancel_uploads().await;
    Outcome {
        receipt,
        failure: ended.err(),
    }
}
