//! What the job around a step has to do with its records: which run it is, which digests vouch for a record, and how later
//! steps and jobs learn the digest of a new one.

use std::error::Error;

use super::{KnownDigests, Record, RecordError, RecordFile, WorkflowRun};
use crate::domain::Digest;

/// Tells later steps and jobs the digest of a record.
pub type Announce = Box<dyn Fn(Announcement<'_>) -> Result<(), Box<dyn Error + Send + Sync>>>;

/// The job that a step is part of. Strings come in and go out through it; a record's own text never does.
pub struct Job {
    /// The run that this job belongs to; none outside of Actions.
    pub run: Option<WorkflowRun>,
    /// The digests that vouch for the record of this name.
    pub known: Box<dyn Fn(&str) -> KnownDigests>,
    /// Tells later steps and jobs.
    pub announce: Announce,
}

/// The digests by which later steps know a record.
#[derive(Debug, Clone, Copy)]
pub enum Announcement<'a> {
    /// The file is about to be replaced: of a step that is killed now it holds either of these.
    Replacing {
        /// The digest that it had, where that is vouched for.
        old: Option<&'a Digest>,
        /// The digest that it is to have.
        new: &'a Digest,
    },
    /// It has this one.
    Replaced(&'a Digest),
}

/// The variable by which later steps of a job know the record at this path of the workspace.
#[must_use]
pub fn export_name(path: &str) -> String {
    let hex = Digest::of(path.as_bytes()).hex().to_uppercase();
    format!("MANIFEST_SEAL_RECORD_{}", hex.get(..8).unwrap_or_default())
}

impl RecordFile {
    /// Replaces the record, and announces its digest. `old` is the digest that it had, where that is vouched for. Returns
    /// the new one.
    pub fn hand_on(
        &self,
        record: &Record,
        old: Option<&Digest>,
        job: &Job,
    ) -> Result<Digest, RecordError> {
        let text = self.text(record)?;
        let new = Digest::of(&text);
        let announce =
            |announcement| (job.announce)(announcement).map_err(RecordError::Unannounced);
        announce(Announcement::Replacing { old, new: &new })?;
        self.replace(&text)?;
        announce(Announcement::Replaced(&new))?;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::record::Loaded;

    /// A job that is cut short at its `fails_at`-th announcement; its later steps know the digests that it told by then.
    fn job(fails_at: usize) -> Job {
        let tell = Rc::new(RefCell::new((0, Vec::new())));
        let ask = Rc::clone(&tell);
        let announce = move |announcement: Announcement<'_>| {
            let mut told = tell.borrow_mut();
            if told.0 == fails_at {
                return Err("killed".into());
            }
            told.0 += 1;
            told.1 = match announcement {
                Announcement::Replacing { old, new } => {
                    old.into_iter().chain([new]).cloned().collect()
                }
                Announcement::Replaced(new) => vec![new.clone()],
            };
            Ok(())
        };
        let known = move |_: &str| KnownDigests {
            input: None,
            exported: ask.borrow().1.clone(),
        };
        Job {
            run: None,
            known: Box::new(known),
            announce: Box::new(announce),
        }
    }

    #[test]
    fn step_that_is_cut_short_leaves_a_record_that_is_vouched_for() {
        for fails_at in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let file = RecordFile::new(folder.path().join("record.json"));
            let job = job(fails_at);
            let mut old = None;
            for seed in 0..2 {
                let record = Record {
                    run: Some(WorkflowRun {
                        id: seed,
                        attempt: 1,
                        repository: String::new(),
                    }),
                    ..Record::default()
                };
                match file.hand_on(&record, old.as_ref(), &job) {
                    Ok(new) => old = Some(new),
                    Err(_) => break,
                }
            }
            let loaded = file.load(&(job.known)("record.json"), None).unwrap();
            let is_fine = matches!(loaded, Loaded::Absent | Loaded::Vouched(_));
            assert!(is_fine, "{fails_at}: {loaded:?}");
            assert_eq!(matches!(loaded, Loaded::Absent), fails_at == 0);
        }
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
