//! Looks up signatures that the record names and the registry does not list. The list may be late or wrong. A second
//! signature would not be listed either.

use super::candidates::{Absence, CandidateVerifier, Candidates, FoundSignature};
use super::{SignatureError, legacy};
use crate::context::ReadContext;
use crate::domain::{Digest, Reference, Repository, SignatureFormat};
use crate::record::Record;

/// The maximum number of locations that are checked for each digest and format. A pipeline makes one or two, and anyone
/// can write a record that names thousands. The newest come first.
const LOCATIONS_MAX: usize = 4;

/// The location of a signature in a record: its format and its manifest.
pub(crate) type Recorded = (SignatureFormat, Digest);

/// Returns the locations of signatures of `subject` in the record.
pub(crate) fn recorded(
    record: Option<&Record>,
    repository: &Repository,
    subject: &Digest,
) -> Vec<Recorded> {
    let image = repository.to_string();
    let all = [SignatureFormat::Bundle, SignatureFormat::Legacy];
    let named = all.map(|format| {
        let manifests = record.map(|record| record.manifests_of(&image, subject, format.as_str()));
        manifests
            .into_iter()
            .flatten()
            .take(LOCATIONS_MAX)
            .map(move |digest| (format, digest))
    });
    named.into_iter().flatten().collect()
}

/// Looks up signatures of this format at these locations. Trusts a registry that reports them as absent.
pub(crate) async fn look_up(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    locations: &[Recorded],
    format: SignatureFormat,
    verifier: &CandidateVerifier<'_>,
) -> Result<Option<FoundSignature>, SignatureError> {
    for (_, digest) in locations.iter().filter(|(of, _)| *of == format) {
        let found = match format {
            SignatureFormat::Bundle => {
                let mut candidates = Candidates::new(context, repository, subject, verifier);
                candidates.open([digest.clone()], Absence::MayEnd).await;
                candidates.end()?
            }
            SignatureFormat::Legacy => {
                let reference = Reference::Digest(digest.clone());
                match context.registry.manifest(repository, &reference).await {
                    Ok(Some(manifest)) if legacy::has_signatures(&manifest) => {
                        legacy::verify_layers(context, repository, subject, &manifest, verifier)
                            .await?
                    }
                    // A record can name anything that someone pushed: this is no signature.
                    Ok(_) => continue,
                    Err(error) if error.is_about_content() => continue,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if let Some(held) = found.verified.into_iter().next() {
            return Ok(Some(held));
        }
    }
    Ok(None)
}
