//! Writes tags, and waits until the registries show them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, stream};

use super::versions::Versions;
use super::{CommandError, TagError};
use crate::context::{Context, REQUESTS_PARALLEL, RecordWriter};
use crate::domain::{Digest, FullTag, Manifest, Repository, Tag, TagContent};
use crate::outcome::Outcome;
use crate::plan::{Conflict, Difference, Newer, SeenTag, TagKind, TagStep, Vouched};
use crate::record::TagState;
use crate::registry::{
    Guard, Probe, RegistryError, Replaced, TAGS_MAX, TagRead, WriteRule, may_put_tags, put_tags,
};

/// The longest time between the last read of a tag and the start of its write, and the shortest wait that makes conflicts
/// of concurrent runs visible. Measured with 8 concurrent runs that want one tag for different images.
const RACE_WINDOW: Duration = Duration::from_millis(100);

/// The result of reading a tag.
pub(super) enum TagLookup {
    /// The content of the tag.
    Seen(SeenTag),
    /// A denial by the registry.
    Denied {
        tag: FullTag,
        kind: TagKind,
        error: Box<RegistryError>,
    },
}

impl TagLookup {
    /// Returns the content of the tag. A tag that was denied is read again, and must be readable now.
    pub(super) async fn read_if_denied(self, context: &Context) -> Result<SeenTag, CommandError> {
        let (tag, kind) = match self {
            Self::Seen(seen) => return Ok(seen),
            Self::Denied { tag, kind, .. } => (tag, kind),
        };
        match look_up_tag(context, &tag, kind).await? {
            Self::Seen(seen) => Ok(seen),
            Self::Denied { error, .. } => Err(CommandError::Registry(error)),
        }
    }
}

/// Reads every tag, in the order of the inputs, moving ones last. A tag that cannot be read is an error. Answers that a
/// registry may give for a repository that does not exist yet are an exception.
pub(super) async fn look_up_tags(
    context: &Context,
    fixed: &[FullTag],
    moving: &[FullTag],
) -> Result<Vec<TagLookup>, CommandError> {
    let fixed = fixed.iter().map(|tag| (tag, TagKind::Fixed));
    let moving = moving.iter().map(|tag| (tag, TagKind::Moving));
    let reads = fixed
        .chain(moving)
        .map(|(tag, kind)| look_up_tag(context, tag, kind));
    try_join_all(reads).await
}

/// Reads one tag.
pub(super) async fn look_up_tag(
    context: &Context,
    tag: &FullTag,
    kind: TagKind,
) -> Result<TagLookup, CommandError> {
    let tag = tag.clone();
    match context.tagged(&tag).await {
        Ok(existing) => Ok(TagLookup::Seen(SeenTag {
            tag,
            kind,
            existing,
        })),
        Err(error) if error.is_denied() => Ok(TagLookup::Denied {
            tag,
            kind,
            error: Box::new(error),
        }),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn report_step(context: &Context, step: &TagStep) {
    let (events, tag) = (&context.events, &step.tag);
    let text = match &step.newer {
        // Anyone with push access can replace one of our images by another, so the consequence must be visible.
        Some(Newer { current, wanted }) => {
            let digest = &step.after;
            return events.warn(format!("tag `{tag}`: left unchanged: it points to version {current}, which is newer than {wanted}, as `{digest}`. If that is wrong, move the tag manually or release a higher version"));
        }
        None if step.writes() => "to be written",
        None => "left unchanged",
    };
    // A record can be lost, and this is the place where the digest can be found then.
    let held = step.before.as_ref().filter(|_| step.writes());
    let held = held.map_or(String::new(), |held| format!("; it points to `{held}`"));
    events.info(format!("tag `{tag}`: {text}{held}"));
}

pub(super) fn tags_to_write(outcome: &Outcome, kind: TagKind) -> Vec<TagStep> {
    let steps = outcome.tags.iter().map(|tag| &tag.step);
    steps
        .filter(|step| step.kind == kind && step.writes())
        .cloned()
        .collect()
}

/// The knowledge of fixed tags and their repositories right before the tags are written.
#[derive(Default)]
pub(super) struct PreWriteCheck {
    /// Tags that were read during the last writes before them, with the time at which the read began.
    read: BTreeMap<FullTag, (Instant, Option<TagContent>)>,
    /// Repositories without any tag when the run began. Nobody else is expected to write tags there.
    pub(super) unused: BTreeSet<Repository>,
}

impl PreWriteCheck {
    /// Reads tags that are about to be written.
    pub(super) async fn read(
        context: &Context,
        tags: impl Iterator<Item = &FullTag>,
    ) -> Result<Self, RegistryError> {
        let began = Instant::now();
        let reads = tags.map(|tag| async move {
            let existing = context.tagged(tag).await?;
            Ok::<_, RegistryError>((tag.clone(), (began, existing)))
        });
        Ok(Self {
            read: try_join_all(reads).await?.into_iter().collect(),
            unused: BTreeSet::new(),
        })
    }

    /// Adds what another check found.
    pub(super) fn append(&mut self, mut other: Self) {
        self.read.append(&mut other.read);
        self.unused.append(&mut other.unused);
    }

    /// Removes the tags that were read so long ago that they have to be read again.
    fn retain_recent(&mut self) {
        let unused = &self.unused;
        self.read.retain(|tag, (began, _)| {
            let is_contested = !unused.contains(&tag.repository);
            let longest = RACE_WINDOW * if is_contested { 1 } else { 2 };
            began.elapsed() <= longest
        });
    }

    /// Reports whether other runs may write these tags at the same time.
    fn has_other_writers(&self, steps: &[TagStep]) -> bool {
        let mut repositories = steps.iter().map(|step| &step.tag.repository);
        repositories.any(|repository| !self.unused.contains(repository))
    }
}

/// Writes the tags that need it and waits until the registries show them. Fixed tags come first. Moving tags follow when
/// the fixed ones are visible.
pub(super) async fn write_tags(
    context: &Context,
    record_writer: &RecordWriter,
    target: &Vouched<Manifest>,
    versions: &Versions<'_>,
    check: PreWriteCheck,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    let (fixed, moving) = (
        tags_to_write(outcome, TagKind::Fixed),
        tags_to_write(outcome, TagKind::Moving),
    );
    if fixed.is_empty() && moving.is_empty() {
        return Ok(());
    }
    context.events.step("Write tags");
    write_fixed(context, record_writer, target, &fixed, check, outcome).await?;
    write_moving(context, record_writer, target, moving, versions, outcome).await
}

async fn write_fixed(
    context: &Context,
    record_writer: &RecordWriter,
    target: &Vouched<Manifest>,
    fixed: &[TagStep],
    mut check: PreWriteCheck,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    if fixed.is_empty() {
        return Ok(());
    }
    check.retain_recent();
    let foreign = foreign_contents(context, fixed, &check.read).await?;
    fail_on_conflicts(foreign, target, outcome)?;
    let began = Instant::now();
    let written = write_all(context, record_writer, target, fixed, outcome).await?;
    // A tag that changed before it was written was written by another run.
    let foreign = foreign_contents(context, &written.changed, &BTreeMap::new()).await?;
    fail_on_conflicts(foreign, target, outcome)?;
    // Another run may have read the tags before this write. Its own write is visible after this wait, even if it takes twice
    // as long as this one. A registry that honours conditions refuses its write.
    if !written.is_guarded && check.has_other_writers(fixed) {
        tokio::time::sleep(RACE_WINDOW + began.elapsed() * 2).await;
    }
    wait_until_visible(context, fixed, &written.together, target, outcome).await
}

/// Writes moving tags. One that another run moved before a retry of this one is decided again.
async fn write_moving(
    context: &Context,
    record_writer: &RecordWriter,
    target: &Vouched<Manifest>,
    mut moving: Vec<TagStep>,
    versions: &Versions<'_>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    let (mut written, mut together) = (Vec::new(), BTreeSet::new());
    for _ in 0..context.retry_policy.max_attempts {
        if moving.is_empty() {
            break;
        }
        let wanted = target.digest();
        moving = recheck_moving(context, record_writer, wanted, moving, versions, outcome).await?;
        let result = write_all(context, record_writer, target, &moving, outcome).await?;
        moving.retain(|step| !result.changed.iter().any(|other| other.tag == step.tag));
        written.append(&mut moving);
        together.extend(result.together);
        moving = result.changed;
    }
    wait_until_visible(context, &written, &together, target, outcome).await?;
    match moving.pop() {
        Some(step) => Err(TagError::Contended { tag: step.tag }.into()),
        None => Ok(()),
    }
}

/// Reads moving tags once more, right before they are written. Content that another run wrote meanwhile may be newer,
/// and a cleanup must restore it. The record is saved before anything is changed.
async fn recheck_moving(
    context: &Context,
    record_writer: &RecordWriter,
    target: &Digest,
    moving: Vec<TagStep>,
    versions: &Versions<'_>,
    outcome: &mut Outcome,
) -> Result<Vec<TagStep>, CommandError> {
    let reads = moving.iter().map(|step| async move {
        let existing = context.tagged(&step.tag).await?;
        let newer = match &existing {
            // The content of the first read was compared then.
            Some(existing) if step.before.as_ref() != Some(existing.digest()) => {
                versions.newer(&step.tag, existing).await?
            }
            Some(_) | None => None,
        };
        let step = TagStep::of_moving(&step.tag, existing.as_ref(), target, newer);
        Ok::<_, CommandError>(step)
    });
    let mut steps = try_join_all(reads).await?;
    let mut is_news = false;
    for step in &steps {
        if outcome.revise(step) {
            is_news = true;
            report_step(context, step);
        }
    }
    if is_news {
        record_writer.save(outcome)?;
    }
    steps.retain(TagStep::writes);
    Ok(steps)
}

/// The tags after [`write_all`].
#[derive(Default)]
struct WrittenSteps {
    /// The tags that another run changed before they were written. They were not written.
    changed: Vec<TagStep>,
    /// The tags that the registry reports as written by a request for several tags.
    together: BTreeSet<FullTag>,
    /// True if every write had a condition that its registry honours.
    is_guarded: bool,
}

/// Writes tags concurrently. If one fails, writes in progress are finished and noted before the error is returned.
///
/// The record lists the writes as intended before they are sent, because a killed run may have written them. Earlier
/// steps are listed as planned: nothing was sent for them. Results are saved a few at a time.
async fn write_all(
    context: &Context,
    record_writer: &RecordWriter,
    target: &Vouched<Manifest>,
    steps: &[TagStep],
    outcome: &mut Outcome,
) -> Result<WrittenSteps, CommandError> {
    let mut result = WrittenSteps::default();
    if steps.is_empty() {
        return Ok(result);
    }
    for step in steps {
        outcome.mark(&step.tag, TagState::Intended);
    }
    record_writer.save(outcome)?;
    let (accepted, read) = write_together(context, target, steps).await;
    for tag in &accepted {
        outcome.mark(tag, TagState::Written);
    }
    if !accepted.is_empty() {
        record_writer.save(outcome)?;
    }
    let others = steps.iter().filter(|step| !accepted.contains(&step.tag));
    let writes = others.map(|step| async move {
        let held = step.before.as_ref();
        let written = write_tag(context, &step.tag, held, read, target).await;
        let is_unwritten = match &written {
            Ok(Replaced::Written(_)) => false,
            Ok(Replaced::HeldOther) => true,
            Err(error) => is_unwritten(context, step, error).await,
        };
        (step, written, is_unwritten)
    });
    let mut writes = stream::iter(writes).buffer_unordered(REQUESTS_PARALLEL);
    let mut failure = None;
    let mut results = record_writer.results(steps.len());
    result.is_guarded = accepted.is_empty();
    while let Some((step, written, is_unwritten)) = writes.next().await {
        if is_unwritten {
            outcome.mark(&step.tag, TagState::Planned);
            results.add(outcome)?;
        }
        match written {
            Ok(Replaced::Written(guard)) => {
                result.is_guarded &= guard == Guard::Condition;
                outcome.mark(&step.tag, TagState::Written);
                results.add(outcome)?;
            }
            Ok(Replaced::HeldOther) => result.changed.push(step.clone()),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    drop(writes);
    results.end(outcome)?;
    result.together = accepted;
    failure.map_or(Ok(result), Err)
}

/// Writes the tags of each repository with one request for several tags, if its registry may support that. Returns the
/// tags that were written, and whether the others must be read again before they are written.
async fn write_together(
    context: &Context,
    target: &Vouched<Manifest>,
    steps: &[TagStep],
) -> (BTreeSet<FullTag>, TagRead) {
    let mut tags: BTreeMap<&Repository, Vec<Tag>> = BTreeMap::new();
    for FullTag { repository, tag } in steps.iter().map(|step| &step.tag) {
        tags.entry(repository).or_default().push(tag.clone());
    }
    tags.retain(|repository, tags| tags.len() > 1 && may_put_tags(&context.registry, repository));
    let requests = tags.iter().flat_map(|(repository, tags)| {
        let parts = tags.chunks(TAGS_MAX);
        parts.map(async move |tags| {
            let (media_type, bytes) = (target.media_type(), target.bytes());
            let put = put_tags(&context.registry, repository, tags, media_type, bytes);
            (*repository, put.await)
        })
    });
    let requests: Vec<_> = requests.collect();
    let read = if requests.is_empty() {
        TagRead::JustNow
    } else {
        TagRead::Earlier
    };
    let mut accepted = BTreeSet::new();
    for (repository, tags) in join_all(requests).await {
        let tags = tags.into_iter().map(|tag| FullTag {
            repository: repository.clone(),
            tag,
        });
        accepted.extend(tags);
    }
    for tag in &accepted {
        report_written(context, tag, target);
    }
    (accepted, read)
}

/// Reports whether the registry refused to write a tag and still does not show what was to be written. An earlier try
/// may have got through unanswered, so the refusal alone proves nothing.
async fn is_unwritten(context: &Context, step: &TagStep, error: &CommandError) -> bool {
    let is_refusal = matches!(error, CommandError::Registry(error) if error.refusal().is_some() && !error.is_outage());
    if !is_refusal {
        return false;
    }
    let (repository, reference) = (&step.tag.repository, step.tag.reference());
    let shown = context.registry.manifest_digest(repository, &reference);
    matches!(shown.await, Ok(shown) if shown.as_ref() != Some(&step.after))
}

/// Reads tags that were absent, just before they are written and after they should be visible. Those in `known` were read
/// a moment ago. Content that another run wrote there is a conflict.
async fn foreign_contents(
    context: &Context,
    steps: &[TagStep],
    known: &BTreeMap<FullTag, (Instant, Option<TagContent>)>,
) -> Result<Vec<Conflict>, CommandError> {
    let reads = steps.iter().map(|step| async move {
        let existing = match known.get(&step.tag) {
            Some((_, existing)) => existing.clone(),
            // By GET: an absent tag is the normal case, and a HEAD would have to be repeated then.
            None => context.tagged(&step.tag).await?,
        };
        let other = existing.filter(|existing| *existing.digest() != step.after);
        let why = "another run wrote it during this run".to_owned();
        let conflict = |existing| Conflict::new(&step.tag, &existing, Difference::Odd(why));
        Ok::<_, CommandError>(other.map(conflict))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

fn fail_on_conflicts(
    conflicts: Vec<Conflict>,
    target: &Manifest,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    outcome.conflicts.clone_from(&conflicts);
    Err(CommandError::conflict(conflicts, target))
}

/// Waits until the registries show the written content. Unknown content means that another run wrote after this one.
/// Under a fixed tag that is a conflict; a moving tag now belongs to the other run.
async fn wait_until_visible(
    context: &Context,
    steps: &[TagStep],
    together: &BTreeSet<FullTag>,
    target: &Vouched<Manifest>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    let waits = steps.iter().map(|step| async move {
        let shown = match wait_for_tag(context, &step.tag, &step.after).await {
            Err(CommandError::Tag(TagError::NotVisible { shows, .. }))
                if shows == step.before && together.contains(&step.tag) =>
            {
                write_alone(context, step, target).await
            }
            shown => shown,
        };
        (step, shown)
    });
    let mut overrun = Vec::new();
    for (step, shown) in join_all(waits).await {
        match shown {
            Err(CommandError::Tag(TagError::NotVisible {
                shows: Some(shows), ..
            })) if step.before.as_ref() != Some(&shows) => match step.kind {
                TagKind::Fixed => overrun.push(step.clone()),
                TagKind::Moving => context.events.info(format!(
                    "`{}` was moved by another run: it points to `{shows}`",
                    step.tag
                )),
            },
            shown => shown?,
        }
    }
    let foreign = foreign_contents(context, &overrun, &BTreeMap::new()).await?;
    fail_on_conflicts(foreign, target, outcome)
}

/// Writes a tag that the registry reported as written by a request for several tags, and does not show.
async fn write_alone(
    context: &Context,
    step: &TagStep,
    target: &Vouched<Manifest>,
) -> Result<(), CommandError> {
    let held = step.before.as_ref();
    write_tag(context, &step.tag, held, TagRead::Earlier, target).await?;
    wait_for_tag(context, &step.tag, &step.after).await
}

/// Writes one tag, if it still has the content `held`.
pub(super) async fn write_tag(
    context: &Context,
    tag: &FullTag,
    held: Option<&Digest>,
    read: TagRead,
    manifest: &Vouched<Manifest>,
) -> Result<Replaced, CommandError> {
    let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
    // The children of the manifest were found in this run.
    let copy = async || Ok::<_, RegistryError>(());
    let probe = Probe::Nothing;
    let rule = WriteRule { held, read, probe };
    let write = context.replace_tag(tag, rule, media_type, bytes, copy);
    let replaced = write.await?;
    if matches!(replaced, Replaced::Written(_)) {
        report_written(context, tag, manifest);
    }
    Ok(replaced)
}

fn report_written(context: &Context, tag: &FullTag, manifest: &Manifest) {
    let digest = manifest.digest();
    context.events.info(format!("`{tag}` points to `{digest}`"));
}

/// Waits until a tag shows `digest`. An older digest right after a write is lag, as is an absent tag.
pub(super) async fn wait_for_tag(
    context: &Context,
    tag: &FullTag,
    digest: &Digest,
) -> Result<(), CommandError> {
    let reference = tag.reference();
    let mut attempt = 1;
    loop {
        let shows = context
            .registry
            .manifest_digest(&tag.repository, &reference)
            .await?;
        if shows.as_ref() == Some(digest) {
            return Ok(());
        }
        if attempt >= context.retry_policy.max_attempts {
            return Err(TagError::NotVisible {
                tag: tag.clone(),
                shows,
            }
            .into());
        }
        attempt += 1;
        let why = "it does not show the new digest yet";
        context.pause(&tag.to_string(), why).await;
    }
}
