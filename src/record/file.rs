//! The record on disk: read with a size limit, replaced in one step, owned by the owner of its folder.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Record, SCHEMA};
use crate::domain::Digest;

const RECORD_MAX_BYTES: u64 = 4 << 20;

/// The file with the record.
#[derive(Debug, Clone)]
pub struct RecordFile {
    path: PathBuf,
}

/// The reason why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file exists but cannot be read.
    #[error("could not read the record `{path}`")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is no record.
    #[error("`{path}` is not a record of this program; remove it, or name another with `record`")]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The record has a schema that this version does not support.
    #[error("the record `{path}` has schema {found}; this version supports {SCHEMA}")]
    OtherSchema {
        /// Its path.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// The file cannot be written.
    #[error("could not write the record `{path}`")]
    Unwritable {
        /// Its path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The digest of the record cannot be announced to later steps.
    #[error("could not export the SHA-256 of the record")]
    NotExported(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RecordError {
    /// True if the file is certainly not our record, so that no known SHA-256 can be its own. After any other read error
    /// that is unknown.
    pub(super) fn is_no_record(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, IsADirectory, NotADirectory};
        match self {
            Self::Unreadable { source, .. } => {
                matches!(source.kind(), FileTooLarge | IsADirectory | NotADirectory)
            }
            Self::Malformed { .. } | Self::OtherSchema { .. } => true,
            Self::Unwritable { .. } | Self::NotExported(_) => false,
        }
    }
}

impl RecordFile {
    /// Creates the record at `path`. The file need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the bytes; `None` if there is no such file.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, RecordError> {
        let unreadable = |source| RecordError::Unreadable {
            path: self.path.clone(),
            source,
        };
        let file = match fs::File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let mut text = Vec::new();
        file.take(RECORD_MAX_BYTES)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 == RECORD_MAX_BYTES {
            return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(Some(text))
    }

    /// Parses the record from the bytes of the file.
    pub(super) fn parse(&self, text: &[u8]) -> Result<Record, RecordError> {
        let record: Record =
            serde_json::from_slice(text).map_err(|source| RecordError::Malformed {
                path: self.path.clone(),
                source,
            })?;
        if record.schema == SCHEMA {
            Ok(record)
        } else {
            Err(RecordError::OtherSchema {
                path: self.path.clone(),
                found: record.schema,
            })
        }
    }

    /// Returns the bytes of the file.
    pub(super) fn text(&self, record: &Record) -> Result<Vec<u8>, RecordError> {
        record.text().map_err(|source| RecordError::Unwritable {
            path: self.path.clone(),
            source: source.into(),
        })
    }

    /// Renames the file or folder at the record's path, to make room for a record. It may be someone's work.
    pub fn rename_unreadable(&self) -> Result<PathBuf, RecordError> {
        let mut name = self.temporary_path(self.folder()).into_os_string();
        name.push(".unreadable");
        let renamed = PathBuf::from(name);
        match fs::rename(&self.path, &renamed) {
            Ok(()) => Ok(renamed),
            Err(source) => Err(RecordError::Unwritable {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Copies the record to a name of its own beside it, before another that does not continue it takes its place. It may
    /// be the only place with the digests that moving tags held. Equal content gets an equal name.
    pub fn backup(&self) -> Result<(), RecordError> {
        let Some(text) = self.read()? else {
            return Ok(());
        };
        let digest = Digest::of(&text);
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        let hex = digest.hex().get(..16).unwrap_or_default();
        name.push(format!(".{hex}.earlier"));
        let named = self.folder().join(name);
        // Something that is no file may have the name: it must stop nobody.
        let other = || {
            self.temporary_path(self.folder())
                .with_added_extension("earlier")
        };
        let kept = self.write(&named, &text);
        kept.or_else(|_| self.write(&other(), &text))
            .map_err(|source| RecordError::Unwritable {
                path: named,
                source,
            })
    }

    /// Replaces the record in one step. If the run is killed, the file is the old or the new one.
    pub(super) fn replace(&self, text: &[u8]) -> Result<(), RecordError> {
        self.write(&self.path, text)
            .map_err(|source| RecordError::Unwritable {
                path: self.path.clone(),
                source,
            })
    }

    /// Writes a file in the record's folder in one step.
    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let folder = self.folder();
        fs::create_dir_all(folder)?;
        let temporary_path = self.temporary_path(folder);
        let replaced = write_new(&temporary_path, text, folder)
            .and_then(|()| fs::rename(&temporary_path, path));
        if replaced.is_err() {
            // The first error is returned; this one adds nothing.
            let _ = fs::remove_file(&temporary_path);
        }
        replaced
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Returns an unpredictable name in the same folder: in a container every run has the same process id.
    fn temporary_path(&self, folder: &Path) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}", fastrand::u64(..)));
        folder.join(name)
    }
}

/// Writes a new file that belongs to the owner of `folder`.
fn write_new(path: &Path, text: &[u8], folder: &Path) -> io::Result<()> {
    // SECURITY: never through an existing link: this runs as root, in a folder of another user.
    let mut file = fs::File::create_new(path)?;
    file.write_all(text)?;
    // The container runs as root, and later steps cannot remove root's files in the workspace. Without the right to give
    // a file away (no root, or no CAP_CHOWN), it stays as it is: its owner can use it.
    let owner = fs::metadata(folder)?;
    if file.metadata()?.uid() != owner.uid() {
        let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        Record::default().text().unwrap()
    }

    #[test]
    fn a_record_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::new(folder.path().join("deep/record.json"));
        assert_eq!(file.read().unwrap(), None);
        file.replace(&text()).unwrap();
        assert_eq!(file.read().unwrap(), Some(text()));
        assert_eq!(file.parse(&text()).unwrap(), Record::default());
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("record"), folder.path().join("target"));
        fs::write(&target, "theirs").unwrap();
        let temporary = folder.path().join(format!("record.{}", std::process::id()));
        std::os::unix::fs::symlink(&target, temporary).unwrap();
        assert!(write_new(&folder.path().join("target"), b"ours", folder.path()).is_err());
        RecordFile::new(path.clone()).replace(&text()).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("linked")).unwrap();
        RecordFile::new(folder.path().join("linked"))
            .replace(&text())
            .unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert!(path.exists());
    }

    #[test]
    fn a_record_that_cannot_be_put_in_place_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("record/x")).unwrap();
        let file = RecordFile::new(folder.path().join("record"));
        assert!(file.replace(&text()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_record_is_never_read_as_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::new(folder.path().join("record.json"));
        for text in [
            "",
            "{}",
            "[]",
            "{\"schema\":1,\"images\":[{}]}",
            "{\"schema\":2}",
        ] {
            assert!(file.parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(RecordFile::new(folder.path().to_owned()).read().is_err());
    }
}
