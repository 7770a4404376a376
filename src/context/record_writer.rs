//! Keeps the record up to date while a run changes things. It is saved before and after each change.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Context;
use crate::domain::{Digest, MediaType, chain_text};
use crate::inputs::Mode;
use crate::outcome::{Outcome, SignatureOutcome};
use crate::record::{
    ImageRecord, Job, Loaded, Record, RecordError, RecordFile, SelectionError, Unvouched,
    VouchedImages, VouchedRecord,
};

/// The record as this run found it, and its file.
pub struct RecordWriter {
    name: String,
    file: RecordFile,
    loaded: Loaded,
    job: Job,
    mode: Mode,
    written: Mutex<Option<Digest>>,
}

impl RecordWriter {
    /// Reads the record that earlier runs left at `path`, named `name` in the workspace. A file that is no record, and
    /// that nothing vouches for, counts as absent: any job of a run can write one.
    pub fn open(name: &str, path: PathBuf, job: Job, mode: Mode) -> Result<Self, RecordError> {
        let file = RecordFile::new(path);
        let loaded = file.load(&(job.known)(name), job.run.as_ref())?;
        Ok(Self {
            name: name.to_owned(),
            file,
            loaded,
            job,
            mode,
            written: Mutex::default(),
        })
    }

    /// The name of the record in the workspace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The record of earlier runs, as a hint for the order of lookups. Anyone who can write the file may have forged
    /// it.
    pub(crate) fn earlier(&self) -> Option<&Record> {
        self.loaded.hints()
    }

    /// The record of earlier steps of this run, if it is vouched for.
    pub(crate) fn vouched(&self) -> Option<&VouchedRecord> {
        self.loaded.vouched()
    }

    /// The reason why the record, present or absent, cannot be used to revert tags.
    pub(crate) fn unvouched_text(&self) -> String {
        let name = &self.name;
        match &self.loaded {
            Loaded::Absent => format!("there is no record `{name}`"),
            Loaded::Unusable(error) => {
                format!(
                    "there is no record that could be read: {}",
                    chain_text(error)
                )
            }
            Loaded::OtherRun(run, _) => {
                format!("the record `{name}` is of {run}{}", self.this_run())
            }
            Loaded::Observed(_, why) => format!("nothing vouches for the record `{name}`: {why}"),
            // This record can be used to revert tags.
            Loaded::Vouched(_) => format!("the record `{name}` is vouched for"),
        }
    }

    /// Advice for tags that are not reverted, since no record permits it.
    pub(crate) fn by_hand_text(&self) -> &'static str {
        match &self.loaded {
            Loaded::Observed(..) => {
                "Give `record-digest`, an output of the step that wrote the record; or see what the run did, and do the rest by hand"
            }
            Loaded::Absent | Loaded::Unusable(_) | Loaded::OtherRun(..) | Loaded::Vouched(_) => {
                "See what the run did, and do the rest by hand"
            }
        }
    }

    fn this_run(&self) -> String {
        let run = self.job.run.as_ref();
        run.map_or(String::new(), |run| format!(", and this is {run}"))
    }

    /// Reports that the existing record is not continued, and why.
    pub(crate) fn report_earlier(&self, context: &Context) {
        let why = self.unvouched_text();
        let text = |keeps: &str| match self.mode {
            Mode::Apply => format!("{why}; the record that this run writes {keeps}"),
            Mode::DryRun => why.clone(),
        };
        let not_continued = || {
            text(
                "does not continue it, and keeps it beside itself under a name that ends in `.earlier`",
            )
        };
        match &self.loaded {
            Loaded::Absent | Loaded::Vouched(_) => (),
            Loaded::Unusable(_) => context.events.warn(text(
                "takes its place, and what is there stays beside it under another name",
            )),
            Loaded::OtherRun(..) => context.events.warn(not_continued()),
            Loaded::Observed(_, why) if why.is_mismatch() => context.events.warn(not_continued()),
            // This is normal after an earlier attempt whose record is available.
            Loaded::Observed(..) => context.events.note(not_continued()),
        }
    }

    /// Warns that the existing file cannot be read as a record.
    pub(crate) fn report_unusable(&self, context: &Context) {
        if let Loaded::Unusable(_) = self.loaded {
            context.events.warn(self.unvouched_text());
        }
    }

    /// Returns the images that this run's record permits to sign, or `None` if there is no record.
    pub(crate) fn images(&self) -> Option<Result<VouchedImages, SelectionError>> {
        let images = self.loaded.images()?;
        Some(images.map_err(|why| unvouched(&self.name, why)))
    }

    /// Returns the images that the record at `path` permits to publish, or `None` if there is no record.
    pub(crate) fn images_of(
        &self,
        name: &str,
        path: &Path,
    ) -> Result<Option<VouchedImages>, SelectionError> {
        let file = RecordFile::new(path.to_owned());
        let loaded = file.load(&(self.job.known)(name), self.job.run.as_ref())?;
        if let Loaded::Unusable(error) = loaded {
            return Err(error.into());
        }
        let images = loaded.images().transpose();
        images.map_err(|why| unvouched(name, why))
    }

    /// Writes the state of the outcome to the record, and passes the record's digest to later steps.
    pub(crate) fn save(&self, outcome: &Outcome) -> Result<(), RecordError> {
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        // SECURITY: an unvouched record is not continued: later steps would trust everything that is written now.
        let vouched = self.vouched().map(VouchedRecord::record);
        let mut record = vouched.cloned().unwrap_or_default();
        record.run = self.job.run.clone().or(record.run);
        if outcome.index.is_some() {
            outcome
                .records()
                .into_iter()
                .for_each(|image| record.put(image));
        } else {
            let images = signed_images(outcome).into_iter();
            images.for_each(|image| record.add_signatures(image));
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let old = written
            .as_ref()
            .or(self.vouched().map(VouchedRecord::digest));
        if written.is_none() {
            match &self.loaded {
                Loaded::Unusable(_) => drop(self.file.set_aside()?),
                Loaded::Observed(..) | Loaded::OtherRun(..) => self.file.keep_aside()?,
                Loaded::Absent | Loaded::Vouched(_) => (),
            }
        }
        *written = Some(self.file.hand_on(&record, old, &self.job)?);
        Ok(())
    }

    /// The digest by which alone the next run continues the record that this one wrote. `None` in a run of a workflow,
    /// where outputs and variables hand it over.
    pub(crate) fn needed_digest(&self) -> Option<Digest> {
        self.written().filter(|_| self.job.run.is_none())
    }

    /// The digest of the record that this run wrote, if it wrote one.
    #[must_use]
    pub fn written(&self) -> Option<Digest> {
        let written = self.written.lock();
        written.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unvouched(name: &str, why: Unvouched) -> SelectionError {
    SelectionError::Unvouched {
        name: name.to_owned(),
        why: Box::new(why),
    }
}

/// The record entries of `sign`: signatures of images that it did not make.
fn signed_images(outcome: &Outcome) -> Vec<ImageRecord> {
    let mut images: Vec<ImageRecord> = Vec::new();
    for signature in &outcome.signatures {
        let record = SignatureOutcome::record(signature);
        let image = signature.subject.repository.to_string();
        match images.iter_mut().find(|known| known.image == image) {
            Some(known) => known.signatures.push(record),
            None => images.push(ImageRecord {
                image,
                digest: signature.subject.digest.clone(),
                media_type: MediaType::OciIndex,
                observed: false,
                created: false,
                platforms: Vec::new(),
                attestations: Vec::new(),
                tags: Vec::new(),
                signatures: vec![record],
            }),
        }
    }
    images
}
