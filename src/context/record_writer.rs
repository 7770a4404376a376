//! Keeps the record up to date while a run changes things. It is saved before each change, and when results are known: a
//! few at a time while other work is in progress, and the last ones when the run ends, however it ends.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use super::RecordReader;
use crate::domain::{Digest, MediaType};
use crate::inputs::Mode;
use crate::outcome::{Outcome, SignatureOutcome};
use crate::record::{ImageRecord, Loaded, RecordError, ReplacedRecord, VouchedRecord};

/// The most saves for the results of one step, besides the last.
const RESULT_SAVES_MAX: usize = 10;

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
        let vouched = self.vouched().map(VouchedRecord::digest);
        let replaced = match (written.as_ref(), vouched) {
            (Some(own), _) => ReplacedRecord::Own(own),
            (None, Some(vouched)) => ReplacedRecord::Vouched(vouched),
            (None, None) => ReplacedRecord::Unvouched,
        };
        if written.is_none() {
            match &self.loaded {
                Loaded::Unusable(_) => drop(self.file.rename_unreadable()?),
                Loaded::Observed(..) | Loaded::OtherRun(..) => self.file.backup()?,
                Loaded::Absent | Loaded::Vouched(_) => (),
            }
        }
        let replace = self
            .file
            .replace_and_export(&record, replaced, &self.record_export);
        *written = Some(replace?);
        Ok(())
    }

    /// Returns the means to save the results of `total` pieces of concurrent work.
    pub(crate) fn results(&self, total: usize) -> ResultSaver<'_> {
        ResultSaver {
            record_writer: self,
            unsaved: 0,
            unsaved_max: total / RESULT_SAVES_MAX,
        }
    }

    /// Saves the results that are not in the record yet, at the end of a run. A run that has not written its record has
    /// changed nothing.
    pub(crate) fn save_last_results(&self, outcome: &Outcome) -> Result<(), RecordError> {
        match self.written() {
            Some(_) => self.save(outcome),
            None => Ok(()),
        }
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

/// Saves the results of concurrent work, in a few parts. The record is written whole, so saving it for each result would
/// write bytes by the square of the work.
///
/// Until a result is saved, the record lists the change as intended. A killed run may have made it.
pub(crate) struct ResultSaver<'a> {
    record_writer: &'a RecordWriter,
    unsaved: usize,
    unsaved_max: usize,
}

impl ResultSaver<'_> {
    /// Notes that the outcome has another result, and saves it if enough are unsaved.
    pub(crate) fn add(&mut self, outcome: &Outcome) -> Result<(), RecordError> {
        self.unsaved += 1;
        if self.unsaved > self.unsaved_max {
            self.unsaved = 0;
            return self.record_writer.save(outcome);
        }
        Ok(())
    }

    /// Saves the remaining results.
    pub(crate) fn end(self, outcome: &Outcome) -> Result<(), RecordError> {
        match self.unsaved {
            0 => Ok(()),
            _ => self.record_writer.save(outcome),
        }
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
