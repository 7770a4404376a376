//! Exports the digest of a new record to later steps and jobs, and reads the digests that vouch for a record.

use std::error::Error;

use super::{KnownDigests, Record, RecordError, RecordFile, WorkflowRun};
use crate::domain::Digest;

/// Exports the digest of a record to later steps and jobs.
pub type Export = Box<dyn Fn(ExportedDigests<'_>) -> Result<(), Box<dyn Error + Send + Sync>>>;

/// The run, the known digests, and the export of new ones. Names and digests are exchanged with the environment, never
/// the text of a record.
pub struct RecordExport {
    /// The run of this job; `None` outside of Actions.
    pub run: Option<WorkflowRun>,
    /// Returns the digests that vouch for the record with this name.
    pub known: Box<dyn Fn(&str) -> KnownDigests>,
    /// Announces a digest to later steps and jobs.
    pub export: Export,
}

/// The digests by which later steps verify a record.
#[derive(Debug, Clone, Copy)]
pub enum ExportedDigests<'a> {
    /// The file is about to be replaced. If the step is killed now, the file has one of these digests.
    Replacing {
        /// Its previous digest, if that is vouched for.
        old: Option<&'a Digest>,
        /// Its new digest.
        new: &'a Digest,
    },
    /// The file has this digest.
    Replaced(&'a Digest),
}

/// Returns the variable in which later steps find the digest of the record at this path of the workspace.
#[must_use]
pub fn export_name(path: &str) -> String {
    let hex = Digest::of(path.as_bytes()).hex().to_uppercase();
    format!("MANIFEST_SEAL_RECORD_{}", hex.get(..8).unwrap_or_default())
}

/// The record that a new one replaces.
#[derive(Debug, Clone, Copy)]
pub enum ReplacedRecord<'a> {
    /// There is none, or nothing vouches for it.
    Unvouched,
    /// An earlier step wrote it, and its digest is vouched for.
    Vouched(&'a Digest),
    /// This step wrote it, with this digest.
    Own(&'a Digest),
}

impl RecordFile {
    /// Replaces the record and announces its digest. Returns the new digest. An equal record of this step is not written
    /// again.
    pub fn replace_and_export(
        &self,
        record: &Record,
        replaced: ReplacedRecord<'_>,
        record_export: &RecordExport,
    ) -> Result<Digest, RecordError> {
        let text = self.text(record)?;
        let new = Digest::of(&text);
        let old = match replaced {
            ReplacedRecord::Own(old) if *old == new => return Ok(new),
            ReplacedRecord::Own(old) | ReplacedRecord::Vouched(old) => Some(old),
            ReplacedRecord::Unvouched => None,
        };
        let export = |digests| (record_export.export)(digests).map_err(RecordError::NotExported);
        export(ExportedDigests::Replacing { old, new: &new })?;
        self.replace(&text)?;
        export(ExportedDigests::Replaced(&new))?;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::record::Loaded;

    /// A job that is killed at its `fails_at`-th announcement. Its later steps get the digests announced by then.
    fn record_export(fails_at: usize) -> RecordExport {
        let tell = Rc::new(RefCell::new((0, Vec::new())));
        let ask = Rc::clone(&tell);
        let export = move |digests: ExportedDigests<'_>| {
            let mut exported = tell.borrow_mut();
            if exported.0 == fails_at {
                return Err("killed".into());
            }
            exported.0 += 1;
            exported.1 = match digests {
                ExportedDigests::Replacing { old, new } => {
                    old.into_iter().chain([new]).cloned().collect()
                }
                ExportedDigests::Replaced(new) => vec![new.clone()],
            };
            Ok(())
        };
        let known = move |_: &str| KnownDigests {
            input: None,
            exported: ask.borrow().1.clone(),
        };
        RecordExport {
            run: None,
            known: Box::new(known),
            export: Box::new(export),
        }
    }

    #[test]
    fn step_that_is_cut_short_leaves_a_record_that_is_vouched_for() {
        for fails_at in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let file = RecordFile::new(folder.path().join("record.json"));
            let record_export = record_export(fails_at);
            let mut old: Option<Digest> = None;
            for seed in 0..2 {
                let record = Record {
                    run: Some(WorkflowRun {
                        id: seed,
                        attempt: 1,
                        repository: String::new(),
                    }),
                    ..Record::default()
                };
                let replaced = old
                    .as_ref()
                    .map_or(ReplacedRecord::Unvouched, ReplacedRecord::Own);
                match file.replace_and_export(&record, replaced, &record_export) {
                    Ok(new) => old = Some(new),
                    Err(_) => break,
                }
            }
            let loaded = file
                .load(&(record_export.known)("record.json"), None)
                .unwrap();
            let is_fine = matches!(loaded, Loaded::Absent | Loaded::Vouched(_));
            assert!(is_fine, "{fails_at}: {loaded:?}");
            assert_eq!(matches!(loaded, Loaded::Absent), fails_at == 0);
        }
    }

    #[test]
    fn equal_record_of_this_step_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::new(folder.path().join("record.json"));
        let record = Record::default();
        let replace = |replaced, fails_at| {
            file.replace_and_export(&record, replaced, &record_export(fails_at))
        };
        let new = replace(ReplacedRecord::Unvouched, 2).unwrap();
        assert_eq!(replace(ReplacedRecord::Own(&new), 0).unwrap(), new);
        // A later step announces it in any case.
        assert!(replace(ReplacedRecord::Vouched(&new), 0).is_err());
    }

    #[test]
    fn paths_have_variables_of_their_own() {
        let names = ["manifest-seal.json", "out/manifest-seal.json"].map(export_name);
        assert_ne!(names.first(), names.last());
        let name = names.first().unwrap();
        let hex = name.strip_prefix("MANIFEST_SEAL_RECORD_").unwrap();
        assert!(hex.len() == 8 && hex.chars().all(|letter| letter.is_ascii_hexdigit()));
    }
}
