//! Decides which referrers and digest tags of an image are copied. One is verified if its issuer and its source
//! repository are those that the policy requires for the image.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::CopyError;
use super::bundles::{BundleRead, LayerResult, ReferrerManifest, read_bundle, verify_layers};
use super::source::Source;
use crate::context::Context;
use crate::domain::{
    Descriptor, Digest, DigestTag, Manifest, ManifestKind, PREDICATE_TYPE, Unusable, chain_text,
};
use crate::inputs::ReferrerSelection;
use crate::outcome::ReferrerOutcome;
use crate::signatures::VerifyingContext;
use crate::signatures::legacy::has_signatures;
use crate::signatures::legacy_manifest::of_signatures;
use crate::sigstore::{SourcePolicy, verify_legacy_origin, verify_statement};

const NO_IDENTITY: &str = "no identity is given, so nothing is verified";
const UNVERIFIED: &str = "only bundles and signatures are verified";
const TYPE_MAX_CHARS: usize = 200;

/// The required signer of referrers, and the verdict on each so far. The verdict is the same for every destination.
pub(crate) struct ReferrerFilter<'a> {
    verifying_context: Option<(&'a VerifyingContext, SourcePolicy)>,
    /// Bundles that were read before, by the digest of their manifest.
    bundles: BTreeMap<Digest, Vec<u8>>,
    selection: ReferrerSelection,
    found: RefCell<BTreeMap<(Digest, String), ReferrerOutcome>>,
    /// The entries of the referrers that are copied.
    entries: RefCell<BTreeMap<Digest, Descriptor>>,
    /// The warnings given so far: each is given once, even for several destinations.
    warned: RefCell<BTreeSet<String>>,
}

/// An entry of a list of referrers.
pub(super) struct ListedReferrer<'a> {
    /// The digest that the list is about.
    pub(super) subject: &'a Digest,
    /// The descriptor of the subject, if it was read.
    pub(super) described: Option<&'a Descriptor>,
    /// The entry.
    pub(super) entry: &'a Descriptor,
}

/// The verdict on an entry of a list.
enum EntryVerdict {
    /// A referrer of this type, with its signer or the reason why it is not verified.
    Referrer(String, Result<String, String>),
    /// Content that is not copied, whatever the inputs say, with the reason.
    LeftOut(String),
    /// A manifest that does not refer to the subject, with the manifest that it refers to.
    OtherSubject(Option<Digest>),
}

/// The content of a cosign digest tag that is copied.
pub(super) struct DigestTagCopy {
    /// The manifest to write if the destination has none.
    pub(super) manifest: Manifest,
    /// The content of its config, if this run built both. Then no source has it.
    pub(super) config: Option<Vec<u8>>,
    /// True if it contains, or may contain, a signature by the required identity. Such a signature must be copied.
    pub(super) is_ours: bool,
    /// Its verified signatures alone, in case the whole content cannot be copied.
    pub(super) verified: Option<Box<Self>>,
}

impl DigestTagCopy {
    /// Keeps the whole content of the tag.
    fn whole(manifest: Manifest, is_ours: bool, verified: Option<Self>) -> Self {
        Self {
            manifest,
            config: None,
            is_ours,
            verified: verified.map(Box::new),
        }
    }
}

impl<'a> ReferrerFilter<'a> {
    /// Creates a check that verifies nothing.
    pub(crate) fn new(selection: ReferrerSelection) -> Self {
        Self {
            verifying_context: None,
            bundles: BTreeMap::new(),
            selection,
            found: RefCell::default(),
            entries: RefCell::default(),
            warned: RefCell::default(),
        }
    }

    /// Requires this signer. `bundles` were read before, by the digest of their manifest.
    pub(crate) fn verifying(
        self,
        verifying_context: &'a VerifyingContext,
        policy: SourcePolicy,
        bundles: BTreeMap<Digest, Vec<u8>>,
    ) -> Self {
        Self {
            verifying_context: Some((verifying_context, policy)),
            bundles,
            ..self
        }
    }

    /// Returns the receipts of everything that was found.
    pub(crate) fn outcomes(&self) -> Vec<ReferrerOutcome> {
        self.found.borrow().values().cloned().collect()
    }

    /// Notes that a referrer or tag cannot be copied although it should be.
    pub(super) fn mark_not_copied(&self, subject: &Digest, name: &str) {
        let mut found = self.found.borrow_mut();
        if let Some(outcome) = found.get_mut(&(subject.clone(), name.to_owned())) {
            outcome.is_copied = false;
        }
    }

    /// Notes that the digest tag `tag` was not read and is not copied.
    pub(super) fn note_unread(&self, context: &Context, tag: &DigestTag<'_>) {
        let name = tag.to_string();
        self.note(
            context,
            tag.subject,
            name,
            &kind_of(tag.suffix),
            Err(UNVERIFIED.to_owned()),
        );
    }

    /// Notes that the digest tag `tag` cannot be copied: no client can use its content.
    pub(super) fn note_unusable(
        &self,
        context: &Context,
        tag: &DigestTag<'_>,
        unusable: &Unusable,
    ) {
        let (subject, name) = (tag.subject, tag.to_string());
        let outcome = ReferrerOutcome {
            subject: subject.clone(),
            kind: kind_of(tag.suffix),
            is_copied: false,
            name: name.clone(),
            verdict: Err(unusable.text()),
        };
        self.warn_once(context, left_out(&name, unusable));
        let mut found = self.found.borrow_mut();
        found.entry((subject.clone(), name)).or_insert(outcome);
    }

    /// Warns that the referrers tag of `subject` does not contain a list.
    pub(super) fn warn_of_unusable_list(
        &self,
        context: &Context,
        subject: &Digest,
        unusable: &Unusable,
    ) {
        let tag = subject.referrers_tag().to_string();
        self.warn_once(context, left_out(&tag, unusable));
    }

    /// Reports whether the referrer `name` of `subject` is, or may be, by the required signer. Without a required
    /// signer, everything may be.
    pub(super) fn may_be_ours(&self, subject: &Digest, name: &str) -> bool {
        let found = self.found.borrow();
        let known = found.get(&(subject.clone(), name.to_owned()));
        self.verifying_context.is_none() || known.is_some_and(|known| known.verdict.is_ok())
    }

    /// Reports whether everything is copied, verified or not.
    pub(super) fn copies_all(&self) -> bool {
        self.selection == ReferrerSelection::All
    }

    /// Returns the list entry for a referrer, or `None` if it is not copied. `from` are the sources that list it.
    pub(super) async fn accept_referrer(
        &self,
        context: &Context,
        from: &[&Source],
        referrer: &ListedReferrer<'_>,
        read: impl AsyncFnOnce() -> Result<Option<Rc<Manifest>>, CopyError>,
    ) -> Result<Option<Descriptor>, CopyError> {
        let (subject, entry) = (referrer.subject, referrer.entry);
        let name = entry.digest.to_string();
        let known = self
            .found
            .borrow()
            .get(&(subject.clone(), name.clone()))
            .map(|known| known.is_copied);
        let is_copied = match known {
            Some(is_copied) => is_copied,
            None => match self.verdict_on(context, from, referrer, read).await? {
                EntryVerdict::Referrer(kind, verdict) => {
                    self.note(context, subject, name, &kind, verdict)
                }
                EntryVerdict::LeftOut(why) => {
                    context.events.warn(format!(
                        "`{name}` is listed as a referrer of `{subject}` and is not copied: {why}"
                    ));
                    self.note_not_copied(subject, name, stated_type(entry), why);
                    false
                }
                EntryVerdict::OtherSubject(other) => {
                    let why = match other {
                        Some(other) => format!("its manifest refers to `{other}`"),
                        None => "its manifest refers to nothing".to_owned(),
                    };
                    let kind = stated_type(entry);
                    context.events.warn(format!(
                        "`{name}` ({kind}) is listed as a referrer of `{subject}` and is not copied: {why}"
                    ));
                    self.note_not_copied(subject, name, kind, why);
                    false
                }
            },
        };
        let entry = self.entries.borrow().get(&entry.digest).cloned();
        Ok(entry.filter(|_| is_copied))
    }

    /// Notes that an entry of a list of `subject` is not copied.
    fn note_not_copied(&self, subject: &Digest, name: String, kind: String, why: String) {
        let outcome = ReferrerOutcome {
            subject: subject.clone(),
            kind,
            is_copied: false,
            name: name.clone(),
            verdict: Err(why),
        };
        let mut found = self.found.borrow_mut();
        found.insert((subject.clone(), name), outcome);
    }

    /// Returns the verdict on a referrer. Stores the entry of one that may be copied.
    async fn verdict_on(
        &self,
        context: &Context,
        from: &[&Source],
        referrer: &ListedReferrer<'_>,
        read: impl AsyncFnOnce() -> Result<Option<Rc<Manifest>>, CopyError>,
    ) -> Result<EntryVerdict, CopyError> {
        let (subject, entry) = (referrer.subject, referrer.entry);
        let manifest = match read().await {
            Ok(Some(manifest)) => ReferrerManifest::of(&manifest, referrer.described),
            Ok(None) => return Ok(EntryVerdict::LeftOut("it was not found".to_owned())),
            Err(error) if error.is_about_content() => {
                return Ok(EntryVerdict::LeftOut(chain_text(&error)));
            }
            Err(error) => return Err(error),
        };
        // SECURITY: the writer of a list controls everything in it. Only the manifest states what it refers to.
        if manifest.subject.as_ref().is_some_and(|of| of != subject) {
            return Ok(EntryVerdict::OtherSubject(manifest.subject));
        }
        let (kind, verdict) = self.verify(context, from, referrer, &manifest).await?;
        // Some tools leave out the subject, for registries that do not accept it. A verified statement names it too.
        if manifest.subject.is_none() && verdict.is_err() {
            return Ok(EntryVerdict::OtherSubject(None));
        }
        let plain = manifest.entry.ok().filter(|_| verdict.is_ok());
        let listed = || {
            let mut entry = entry.clone();
            // An entry may replace one of the destination that states another type.
            entry.annotations.remove(PREDICATE_TYPE);
            let stated = manifest
                .predicate
                .map(|said| (PREDICATE_TYPE.to_owned(), said));
            entry.annotations.extend(stated);
            self.copies_all().then_some(entry)
        };
        if let Some(entry) = plain.or_else(listed) {
            let mut entries = self.entries.borrow_mut();
            entries.insert(entry.digest.clone(), entry);
        }
        Ok(EntryVerdict::Referrer(kind, verdict))
    }

    /// Returns the type of a referrer, and its signer or the reason why it is not verified.
    async fn verify(
        &self,
        context: &Context,
        from: &[&Source],
        referrer: &ListedReferrer<'_>,
        manifest: &ReferrerManifest,
    ) -> Result<(String, Result<String, String>), CopyError> {
        let said = stated_type(referrer.entry);
        let refused = |kind, why: &str| Ok((kind, Err(why.to_owned())));
        let Some((verifying_context, source_policy)) = &self.verifying_context else {
            return refused(said, NO_IDENTITY);
        };
        // A manifest without a bundle is the same in every source.
        let is_read =
            |read: &BundleRead| matches!(read, BundleRead::Bundle(_) | BundleRead::Other(_));
        let read = async |source| read_bundle(context, source, manifest).await;
        let read_before = self.bundles.get(&referrer.entry.digest).cloned();
        let read = match read_before {
            Some(bytes) => Some(BundleRead::Bundle(bytes)),
            None => read_first(from, is_read, read).await?,
        };
        let bytes = match read {
            Some(BundleRead::Bundle(bytes)) => bytes,
            Some(BundleRead::Other(kind)) => return refused(kind, "it is not a Sigstore bundle"),
            Some(BundleRead::Statement(kind)) => return refused(kind, "its bundle cannot be read"),
            Some(BundleRead::Broken(why)) => return refused(said, &why),
            Some(BundleRead::Missing) | None => return refused(said, "its bundle was not found"),
        };
        let trust = &verifying_context.trust;
        let (by, kind) = match verify_statement(&bytes, referrer.subject, trust, source_policy) {
            Ok(verified) => verified,
            Err(refusal) => return refused(said, &chain_text(&refusal)),
        };
        if let Err(what) = &manifest.entry {
            return refused(kind, &extra_content_text(what));
        }
        if manifest
            .predicate
            .as_ref()
            .is_some_and(|said| *said != kind)
        {
            return refused(kind, &extra_content_text(PREDICATE_TYPE));
        }
        Ok((kind, Ok(by)))
    }

    /// Returns the part to copy of `original`, the content of the digest tag `tag`. If only verified content is copied,
    /// that is the verified signatures of a list.
    pub(super) async fn filter_digest_tag(
        &self,
        context: &Context,
        source: &Source,
        tag: &DigestTag<'_>,
        original: Manifest,
    ) -> Result<Option<DigestTagCopy>, CopyError> {
        let DigestTag {
            subject, suffix, ..
        } = *tag;
        let (name, kind) = (tag.to_string(), kind_of(suffix));
        let found = match &self.verifying_context {
            None => Err(NO_IDENTITY.to_owned()),
            Some(_) if suffix != "sig" => Err(UNVERIFIED.to_owned()),
            Some((verifying_context, source_policy)) => {
                let verifier = |payload: Vec<u8>, layer: &Descriptor| {
                    let trust = &verifying_context.trust;
                    verify_legacy_origin(
                        &payload,
                        &layer.annotations,
                        subject,
                        trust,
                        source_policy,
                    )
                };
                let results = verify_layers(context, source, &original, &verifier).await?;
                VerifiedList::of(&original, &results)?
            }
        };
        let (verdict, list) = match found {
            Ok(list) => (list.verdict(), Some(list)),
            Err(why) => (Err(why), None),
        };
        let is_ours = match &self.verifying_context {
            None => suffix == "sig" && has_signatures(&original),
            Some(_) => list.is_some(),
        };
        if let (ReferrerSelection::Verified, Err(why), Some(list)) =
            (self.selection, &verdict, &list)
        {
            self.warn_once(context, format!(
                "the tag `{name}` ({kind}) of `{subject}` is copied with its {} verified signatures alone: {why}",
                list.count
            ));
            self.note(context, subject, name, &kind, Ok(list.signer.clone()));
            return Ok(Some(list.copy()));
        }
        let is_copied = self.note(context, subject, name, &kind, verdict);
        let verified = list.map(|list| list.copy());
        Ok(is_copied.then(|| DigestTagCopy::whole(original, is_ours, verified)))
    }

    /// Notes the verdict on a referrer or tag, and returns whether it is copied. Several sources may each have the same
    /// tag; an outcome of copied content replaces one of content left out.
    fn note(
        &self,
        context: &Context,
        subject: &Digest,
        name: String,
        kind: &str,
        verdict: Result<String, String>,
    ) -> bool {
        let kind: String = kind.chars().filter(|one| !one.is_control()).collect();
        let outcome = ReferrerOutcome {
            subject: subject.clone(),
            kind: kind.chars().take(TYPE_MAX_CHARS).collect(),
            is_copied: verdict.is_ok() || self.copies_all(),
            name,
            verdict,
        };
        if let (false, Err(why)) = (outcome.is_copied, &outcome.verdict) {
            let (name, kind) = (&outcome.name, &outcome.kind);
            self.warn_once(context, format!(
                "`{name}` ({kind}), a referrer of `{subject}`, is not copied, because it is not verified: {why}"
            ));
        }
        let is_copied = outcome.is_copied;
        let mut found = self.found.borrow_mut();
        let known = found
            .entry((subject.clone(), outcome.name.clone()))
            .or_insert_with(|| outcome.clone());
        if is_copied && !known.is_copied {
            *known = outcome;
        }
        is_copied
    }

    /// Warns, unless the same text was used before.
    pub(super) fn warn_once(&self, context: &Context, text: String) {
        if self.warned.borrow_mut().insert(text.clone()) {
            context.events.warn(text);
        }
    }
}

/// Reads from each source in order, until one has the content. If none has, an error counts: that source may have it.
async fn read_first<'s, T>(
    from: &[&'s Source],
    is_read: impl Fn(&T) -> bool,
    read: impl AsyncFn(&'s Source) -> Result<T, CopyError>,
) -> Result<Option<T>, CopyError> {
    let (mut found, mut first_error) = (None, None);
    for source in from {
        match read(source).await {
            Ok(read) if is_read(&read) => return Ok(Some(read)),
            Ok(read) => found = Some(read),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(found), Err)
}

/// Returns the type that a list states for an entry.
fn stated_type(entry: &Descriptor) -> String {
    let said = entry.annotations.get(PREDICATE_TYPE);
    let said = said.or(entry.artifact_type.as_ref()).cloned();
    let said = said.unwrap_or_else(|| "unknown type".to_owned());
    let visible = said.chars().filter(|one| !one.is_control());
    visible.take(TYPE_MAX_CHARS).collect()
}

/// The verified signatures of a list.
struct VerifiedList {
    /// A manifest that lists only these signatures, and the content of its config.
    manifest: Manifest,
    config: Vec<u8>,
    count: usize,
    signer: String,
    /// The reason why the original list is not verified as a whole.
    surplus: Option<String>,
}

impl VerifiedList {
    /// Collects the verified signatures of `original`, whose layers were checked. The inner error is the reason why
    /// there are none.
    fn of(
        original: &Manifest,
        results: &[LayerResult<String>],
    ) -> Result<Result<Self, String>, CopyError> {
        let ManifestKind::Image { layers, .. } = original.kind() else {
            return Ok(Err("it contains no signature".to_owned()));
        };
        let verified: Vec<(&Descriptor, &String)> = layers
            .iter()
            .zip(results)
            .filter_map(|(layer, result)| match result {
                LayerResult::Signature(signer) => Some((layer, signer)),
                LayerResult::Refused(_) | LayerResult::Unrelated => None,
            })
            .collect();
        let why = results.iter().find_map(|result| match result {
            LayerResult::Signature(_) => None,
            LayerResult::Refused(refused) => Some(refused.reason().to_owned()),
            LayerResult::Unrelated => Some("it contains content other than signatures".to_owned()),
        });
        let Some((_, first)) = verified.first() else {
            return Ok(Err(
                why.unwrap_or_else(|| "it contains no signature".to_owned())
            ));
        };
        let signatures: Vec<&Descriptor> = verified.iter().map(|(layer, _)| *layer).collect();
        let (manifest, config) = of_signatures(&signatures)?;
        let is_whole = manifest.bytes() == original.bytes();
        let surplus = why.or_else(|| {
            (!is_whole).then(|| "its manifest contains more than its signatures".to_owned())
        });
        Ok(Ok(Self {
            manifest,
            config,
            count: signatures.len(),
            signer: (*first).clone(),
            surplus,
        }))
    }

    fn copy(&self) -> DigestTagCopy {
        DigestTagCopy {
            manifest: self.manifest.clone(),
            config: Some(self.config.clone()),
            is_ours: true,
            verified: None,
        }
    }

    fn verdict(&self) -> Result<String, String> {
        match &self.surplus {
            None => Ok(self.signer.clone()),
            Some(why) => Err(why.clone()),
        }
    }
}

fn kind_of(suffix: &str) -> String {
    format!("tag `.{suffix}` of cosign")
}

fn left_out(tag: &str, unusable: &Unusable) -> String {
    let (digest, why) = (unusable.digest(), unusable.text());
    format!("the tag `{tag}` points to `{digest}`, which is not copied: {why}")
}

fn extra_content_text(what: &str) -> String {
    format!("its manifest contains `{what}`, which the bundle does not sign")
}
