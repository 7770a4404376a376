//! Keeps the record up to date while a run changes things. It is saved before and after each change.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use super::RecordReader;
use crate::domain::{Digest, MediaType};
use crate::inputs::Mode;
use crate::outcome::{Outcome, SignatureOutcome};
use crate::record::{ImageRecord, Loaded, RecordError, VouchedRecord};

/// The record, with the means to write it.
pub struct RecordWriter {
    reader: RecordReader,
    written: Mutex<Option<Digest>>,
}

impl Deref for RecordWriter {
    type Target = RecordReader;

    fn deref(&self) -> &RecordReader {
        &self.reader
    }
}

impl RecordWriter {
    /// Continues the record, if it is vouched for.
    #[must_use]
    pub fn new(reader: RecordReader) -> Self {
        Self {
            reader,
            written: Mutex::default(),
        }
    }

    /// Writes the state of the outcome to the record, and passes the record's digest to later steps.
    pub(crate) fn save(&self, outcome: &Outcome) -> Result<(), RecordError> {
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        // SECURITY: an unvouched record is not continued: later steps would trust everything that is written now.
        let vouched = self.vouched().map(VouchedRecord::record);
        let mut record = vouched.cloned().unwrap_or_default();
        record.run = self.record_export.run.clone().or(record.run);
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
                Loaded::Unusable(_) => drop(self.file.rename_unreadable()?),
                Loaded::Observed(..) | Loaded::OtherRun(..) => self.file.backup()?,
                Loaded::Absent | Loaded::Vouched(_) => (),
            }
        }
        *written = Some(
            self.file
                .replace_and_export(&record, old, &self.record_export)?,
        );
        Ok(())
    }

    /// The digest by which alone the next run continues the record that this one wrote. `None` in a run of a workflow,
    /// where outputs and variables hand it over.
    pub(crate) fn needed_digest(&self) -> Option<Digest> {
        self.written().filter(|_| self.record_export.run.is_none())
    }

    /// The digest of the record that this run wrote, if it wrote one.
    #[must_use]
    pub fn written(&self) -> Option<Digest> {
        let written = self.written.lock();
        written.unwrap_or_else(PoisonError::into_inner).clone()
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
