//! The record that earlier steps or runs left. Reading it changes nothing.

use std::path::{Path, PathBuf};

use super::ReadContext;
use crate::domain::chain_text;
use crate::inputs::Mode;
use crate::record::{
    Loaded, Record, RecordError, RecordExport, RecordFile, SelectionError, Unvouched,
    VouchedImages, VouchedRecord,
};

/// The record as this run found it.
pub struct RecordReader {
    name: String,
    pub(super) file: RecordFile,
    pub(super) loaded: Loaded,
    pub(super) record_export: RecordExport,
    pub(super) mode: Mode,
}

impl RecordReader {
    /// Reads the record that earlier runs left at `path`, named `name` in the workspace. A file that is no record, and
    /// that nothing vouches for, counts as absent: any job of a run can write one.
    pub fn open(
        name: &str,
        path: PathBuf,
        record_export: RecordExport,
        mode: Mode,
    ) -> Result<Self, RecordError> {
        let file = RecordFile::new(path);
        let loaded = file.load(&(record_export.known)(name), record_export.run.as_ref())?;
        Ok(Self {
            name: name.to_owned(),
            file,
            loaded,
            record_export,
            mode,
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
                format!("the record could not be read: {}", chain_text(error))
            }
            Loaded::OtherRun(run, _) => {
                format!("the record `{name}` belongs to {run}{}", self.this_run())
            }
            Loaded::Observed(_, why) => format!("the record `{name}` is not trusted: {why}"),
            // This record can be used to revert tags.
            Loaded::Vouched(_) => format!("the record `{name}` is trusted"),
        }
    }

    /// Advice for tags that are not reverted, since no record permits it.
    pub(crate) fn manual_steps_text(&self) -> &'static str {
        match &self.loaded {
            Loaded::Observed(..) => {
                "Give `record-digest`, an output of the step that wrote the record; or check what the run changed, and revert it manually"
            }
            Loaded::Absent | Loaded::Unusable(_) | Loaded::OtherRun(..) | Loaded::Vouched(_) => {
                "Check what the run changed, and revert it manually"
            }
        }
    }

    fn this_run(&self) -> String {
        let run = self.record_export.run.as_ref();
        run.map_or(String::new(), |run| format!(", not to {run}"))
    }

    /// Reports that the existing record is not continued, and why.
    pub(crate) fn report_earlier(&self, context: &ReadContext) {
        let why = self.unvouched_text();
        let text = |keeps: &str| match self.mode {
            Mode::Apply => format!("{why}; the record that this run writes {keeps}"),
            Mode::DryRun => why.clone(),
        };
        let not_continued = || {
            text("does not continue it; the old file is kept under a name that ends in `.earlier`")
        };
        match &self.loaded {
            Loaded::Absent | Loaded::Vouched(_) => (),
            Loaded::Unusable(_) => context
                .events
                .warn(text("replaces it; the old file is kept under another name")),
            Loaded::OtherRun(..) => context.events.warn(not_continued()),
            Loaded::Observed(_, why) if why.is_mismatch() => context.events.warn(not_continued()),
            // This is normal after an earlier attempt whose record is available.
            Loaded::Observed(..) => context.events.info(not_continued()),
        }
    }

    /// Warns that the existing file cannot be read as a record.
    pub(crate) fn report_unusable(&self, context: &ReadContext) {
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
        let loaded = file.load(
            &(self.record_export.known)(name),
            self.record_export.run.as_ref(),
        )?;
        if let Loaded::Unusable(error) = loaded {
            return Err(error.into());
        }
        let images = loaded.images().transpose();
        images.map_err(|why| unvouched(name, why))
    }
}

fn unvouched(name: &str, why: Unvouched) -> SelectionError {
    SelectionError::Unvouched {
        name: name.to_owned(),
        why: Box::new(why),
    }
}
