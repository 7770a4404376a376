//! Keeps the record true while a run changes things: called before each change and after it.

use super::ApplyError;
use super::receipt::{Receipt, SignatureReceipt};
use crate::domain::MediaType;
use crate::inputs::Mode;
use crate::record::{ImageRecord, Record, RecordFile};

/// The record as this run found it, and where it is kept.
#[derive(Debug)]
pub struct Ledger {
    file: RecordFile,
    earlier: Option<Record>,
    mode: Mode,
}

impl Ledger {
    /// Reads what earlier runs left. A file that is no record is an error: writing over it could lose somebody's work.
    pub fn open(file: RecordFile, mode: Mode) -> Result<Self, ApplyError> {
        let earlier = file.load()?;
        Ok(Self {
            file,
            earlier,
            mode,
        })
    }

    /// What earlier runs left; `None` when there was no record.
    pub(super) fn earlier(&self) -> Option<&Record> {
        self.earlier.as_ref()
    }

    /// Writes down what the receipt says now.
    pub(super) fn save(&self, receipt: &Receipt) -> Result<(), ApplyError> {
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        let mut record = self.earlier.clone().unwrap_or_default();
        if receipt.index.is_some() {
            receipt
                .records()
                .into_iter()
                .for_each(|image| record.put(image));
        } else {
            let images = signed_images(receipt).into_iter();
            images.for_each(|image| record.add_signatures(image));
        }
        Ok(self.file.save(&record)?)
    }
}

/// What `sign` has to say: signatures of images that it did not make.
fn signed_images(receipt: &Receipt) -> Vec<ImageRecord> {
    let mut images: Vec<ImageRecord> = Vec::new();
    for signature in &receipt.signatures {
        let record = SignatureReceipt::record(signature);
        let image = signature.subject.repository.to_string();
        match images.iter_mut().find(|known| known.image == image) {
            Some(known) => known.signatures.push(record),
            None => images.push(ImageRecord {
                image,
                digest: signature.subject.digest.clone(),
                media_type: MediaType::OciIndex,
                platforms: Vec::new(),
                attestations: Vec::new(),
                tags: Vec::new(),
                signatures: vec![record],
            }),
        }
    }
    images
}
