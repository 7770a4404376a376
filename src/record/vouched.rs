//! Vouched records: their SHA-256 is known from outside of the file. A run signs, publishes, deletes or restores nothing
//! because of any other record.

use std::fmt;

use super::{ImageRecord, Record, RecordError, RecordFile, WorkflowRun};
use crate::domain::Digest;

/// A record that is vouched for, of this run or without a run. A run continues it, and a cleanup reverts tags by it.
///
/// SECURITY: [`RecordFile::load`] alone makes one, from bytes whose SHA-256 is known from outside of the file. No other
/// code can make one:
///
/// ```compile_fail,E0451
/// use manifest_seal::domain::Digest;
/// use manifest_seal::record::{Record, VouchedRecord};
///
/// let record = Record::default();
/// let digest = Digest::of(&record.text().unwrap());
/// let forged = VouchedRecord { record, digest };
/// ```
///
/// Everything but the last line is allowed:
///
/// ```
/// use manifest_seal::domain::Digest;
/// use manifest_seal::record::{Record, VouchedRecord};
///
/// let record = Record::default();
/// let digest = Digest::of(&record.text().unwrap());
/// let forged: Option<VouchedRecord> = None;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedRecord {
    record: Record,
    digest: Digest,
}

/// The images of a vouched record, of any run. They may be signed and published. Earlier digests of tags are not among
/// them: a digest is restored only under its own tag.
///
/// ```compile_fail,E0423
/// let forged = manifest_seal::record::VouchedImages(Vec::new());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedImages(Vec<ImageRecord>);

/// An existing record, by the decisions that it allows.
#[derive(Debug)]
pub enum Loaded {
    /// No such file exists.
    Absent,
    /// The file cannot be read as a record, and nothing vouches for it. It is treated as absent.
    Unusable(RecordError),
    /// Nothing vouches for it. It hints where to search first, and decides nothing.
    Observed(Record, Unvouched),
    /// A record that is vouched for, of this run or without a run.
    Vouched(VouchedRecord),
    /// A record of another run. It is neither continued nor used for cleanup, even if vouched for.
    OtherRun(WorkflowRun, Result<VouchedImages, Unvouched>),
}

/// The digests that a record may have, known from outside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownDigests {
    /// The input `record-digest`.
    pub input: Option<Digest>,
    /// The digests that earlier steps of the job exported for this path.
    pub exported: Vec<Digest>,
}

/// The reason why nothing vouches for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unvouched {
    digest: Digest,
    known: KnownDigests,
}

impl RecordFile {
    /// Reads the record of `run` and returns the decisions that it allows.
    pub fn load(
        &self,
        known: &KnownDigests,
        run: Option<&WorkflowRun>,
    ) -> Result<Loaded, RecordError> {
        let text = match self.read() {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Loaded::Absent),
            Err(error) if error.is_no_record() => return Ok(Loaded::Unusable(error)),
            Err(error) => return Err(error),
        };
        let digest = Digest::of(&text);
        let is_known = known.has(&digest);
        let record = match self.parse(&text) {
            Ok(record) => record,
            // Any job of the run can write such a file. It is an error only if its digest is vouched for.
            Err(error) if is_known => return Err(error),
            Err(error) => return Ok(Loaded::Unusable(error)),
        };
        let is_other = |named: &WorkflowRun| run.is_some_and(|run| !run.is_same(named));
        let other = record.run.clone().filter(is_other);
        let why = Unvouched {
            digest: digest.clone(),
            known: known.clone(),
        };
        // SECURITY: no other place turns a record into one that is vouched for.
        let vouched = VouchedRecord { record, digest };
        Ok(match (other, is_known) {
            (None, true) => Loaded::Vouched(vouched),
            (None, false) => Loaded::Observed(vouched.record, why),
            (Some(run), true) => Loaded::OtherRun(run, Ok(vouched.images())),
            (Some(run), false) => Loaded::OtherRun(run, Err(why)),
        })
    }
}

impl KnownDigests {
    fn has(&self, digest: &Digest) -> bool {
        self.input
            .iter()
            .chain(&self.exported)
            .any(|known| known == digest)
    }
}

impl Loaded {
    /// Returns the record that a run continues and a cleanup uses.
    #[must_use]
    pub fn vouched(&self) -> Option<&VouchedRecord> {
        match self {
            Self::Vouched(record) => Some(record),
            Self::Absent | Self::Unusable(_) | Self::Observed(..) | Self::OtherRun(..) => None,
        }
    }

    /// Returns the record as a hint where to search first; `None` for another run's record.
    #[must_use]
    pub fn hints(&self) -> Option<&Record> {
        match self {
            Self::Vouched(record) => Some(record.record()),
            Self::Observed(record, _) => Some(record),
            Self::Absent | Self::Unusable(_) | Self::OtherRun(..) => None,
        }
    }

    /// Returns the images that may be signed and published because the record lists them; `None` if there is no record.
    #[must_use]
    pub fn images(&self) -> Option<Result<VouchedImages, Unvouched>> {
        match self {
            Self::Absent | Self::Unusable(_) => None,
            Self::Observed(_, why) => Some(Err(why.clone())),
            Self::Vouched(record) => Some(Ok(record.images())),
            Self::OtherRun(_, images) => Some(images.clone()),
        }
    }
}

impl VouchedRecord {
    /// Returns the whole record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the SHA-256 of its file.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    fn images(&self) -> VouchedImages {
        let without_tags = |image: &ImageRecord| ImageRecord {
            tags: Vec::new(),
            ..image.clone()
        };
        VouchedImages(self.record.images.iter().map(without_tags).collect())
    }

    #[cfg(test)]
    pub(crate) fn of(record: Record) -> Self {
        let digest = Digest::of(&record.text().unwrap());
        Self { record, digest }
    }
}

impl VouchedImages {
    /// True if one of the images has this digest, or contains it.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.iter().any(|image| {
            let platforms = image.platforms.iter().map(|platform| &platform.digest);
            let mut all = platforms.chain(&image.attestations).chain([&image.digest]);
            all.any(|known| known == digest)
        })
    }

    /// Returns the images that `is_wanted`. One that the run only found under a tag is an error, unless `is_named`:
    /// nothing vouches for the pushes of others.
    pub fn select(
        &self,
        is_wanted: impl Fn(&ImageRecord) -> bool,
        is_named: impl Fn(&Digest) -> bool,
    ) -> Result<Vec<&ImageRecord>, &ImageRecord> {
        let wanted: Vec<_> = self.0.iter().filter(|image| is_wanted(image)).collect();
        let is_found = |image: &&&ImageRecord| image.observed && !is_named(&image.digest);
        match wanted.iter().find(is_found) {
            Some(found) => Err(found),
            None => Ok(wanted),
        }
    }
}

impl Unvouched {
    /// True if the input `record-digest` names another record.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.known.input.is_some()
    }
}

impl fmt::Display for Unvouched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "its SHA-256 is `{}`, ", self.digest)?;
        match (&self.known.input, self.known.exported.last()) {
            (Some(named), _) => write!(formatter, "but `record-digest` is `{named}`"),
            (None, Some(exported)) => {
                write!(
                    formatter,
                    "but the step that wrote it exported `{exported}`"
                )
            }
            (None, None) => formatter
                .write_str("which neither `record-digest` nor an earlier step of this job names"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, attempt: u32) -> WorkflowRun {
        WorkflowRun {
            id,
            attempt,
            repository: "o/r".to_owned(),
        }
    }

    /// Saves a record of the run `of` and loads it in the run `this`, with the digest known or not.
    fn load(of: Option<WorkflowRun>, this: Option<&WorkflowRun>, is_known: bool) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::new(folder.path().join("record.json"));
        let record = Record {
            run: of,
            ..Record::default()
        };
        let text = record.text().unwrap();
        file.replace(&text).unwrap();
        let known = KnownDigests {
            input: is_known.then(|| Digest::of(&text)),
            exported: vec![Digest::of(b"another")],
        };
        file.load(&known, this).unwrap()
    }

    #[test]
    fn digest_decides_and_the_run_that_a_record_names_does_not() {
        let this = run(7, 2);
        for (of, is_other) in [
            (None, false),
            (Some(run(7, 2)), false),
            (Some(run(7, 1)), false),
            (Some(run(8, 1)), true),
        ] {
            for is_known in [true, false] {
                match (load(of.clone(), Some(&this), is_known), is_other, is_known) {
                    (Loaded::Vouched(_), false, true)
                    | (Loaded::Observed(..), false, false)
                    | (Loaded::OtherRun(_, Ok(_)), true, true)
                    | (Loaded::OtherRun(_, Err(_)), true, false) => (),
                    (loaded, ..) => panic!("{of:?}, {is_known}: {loaded:?}"),
                }
            }
        }
        // Outside of Actions there is no other run.
        assert!(load(Some(run(8, 1)), None, true).vouched().is_some());
        assert!(load(Some(run(8, 1)), None, false).vouched().is_none());
    }

    #[test]
    fn repository_tells_runs_apart_too() {
        let other = WorkflowRun {
            repository: "o/fork".to_owned(),
            ..run(7, 1)
        };
        assert!(!run(7, 1).is_same(&other));
        assert!(run(7, 1).is_same(&run(7, 3)));
    }
}
