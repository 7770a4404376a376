//! The files of the folder.
//!
//! SECURITY: a link in it must not make us publish another file of this machine. A pipe or device is never opened.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::LayoutError;
use crate::domain::{Algorithm, Digest};

/// The largest number of blobs.
const FILES_MAX: usize = 20_000;
const BLOBS: &str = "blobs";

/// A folder whose files come from outside.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// The name as given.
    pub(super) name: String,
    /// The path, with links resolved.
    path: PathBuf,
}

impl Folder {
    /// Opens the folder `path`. Messages call it `name`.
    pub(super) fn open(path: &Path, name: &str) -> Result<Self, LayoutError> {
        let path = fs::canonicalize(path).map_err(|source| LayoutError::Unreadable {
            path: name.to_owned(),
            source,
        })?;
        if path.is_file() {
            return Err(LayoutError::Archive(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            path,
        })
    }

    /// Returns the path of the file `place`; `None` if there is none.
    pub(super) fn file(&self, place: &str) -> Result<Option<PathBuf>, LayoutError> {
        let unreadable = |source| self.unreadable(place, source);
        let path = match fs::canonicalize(self.path.join(place)) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let is_file = fs::metadata(&path).map_err(unreadable)?.is_file();
        if !path.starts_with(&self.path) || !is_file {
            return Err(LayoutError::NoFile(self.shown(place)));
        }
        Ok(Some(path))
    }

    pub(super) fn read(&self, place: &str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(path) = self.file(place)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
            .map_err(|source| self.unreadable(place, source))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
            return Ok(Some(bytes));
        }
        let path = self.shown(place);
        Err(LayoutError::TooLong { path, limit })
    }

    /// Lists the digests of all blobs, sorted.
    pub(super) fn digests(&self) -> Result<Vec<Digest>, LayoutError> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            self.add_digests(algorithm, &mut digests)?;
        }
        digests.sort();
        Ok(digests)
    }

    /// Adds the digests of this algorithm to `digests`.
    fn add_digests(
        &self,
        algorithm: Algorithm,
        digests: &mut Vec<Digest>,
    ) -> Result<(), LayoutError> {
        let place = format!("{BLOBS}/{algorithm}");
        let unreadable = |source| self.unreadable(&place, source);
        let files = match fs::read_dir(self.path.join(&place)) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        };
        for file in files {
            let name = file.map_err(unreadable)?.file_name();
            // Other tools leave partly written files beside the blobs.
            digests.extend(
                name.to_str()
                    .and_then(|hex| format!("{algorithm}:{hex}").parse().ok()),
            );
            if digests.len() > FILES_MAX {
                let path = self.shown(&place);
                return Err(LayoutError::TooMany {
                    path,
                    limit: FILES_MAX,
                });
            }
        }
        Ok(())
    }

    /// Reads the file `place` if it can be a JSON document of at most `limit` bytes.
    pub(super) fn document(&self, place: &str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(path) = self.file(place)? else {
            return Ok(None);
        };
        start_of_document(&path, limit).map_err(|source| self.unreadable(place, source))
    }

    /// Returns the name of the file `place` for messages.
    pub(super) fn shown(&self, place: &str) -> String {
        format!("{}/{place}", self.name.trim_end_matches('/'))
    }
    fn unreadable(&self, place: &str, source: io::Error) -> LayoutError {
        LayoutError::Unreadable {
            path: self.shown(place),
            source,
        }
    }
}

/// Returns the place of the content `digest`.
pub(super) fn place(digest: &Digest) -> String {
    format!("{BLOBS}/{}/{}", digest.algorithm(), digest.hex())
}

fn start_of_document(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > limit {
        return Ok(None);
    }
    let mut first = [0];
    if file.read(&mut first)? == 0 || first != *b"{" {
        return Ok(None);
    }
    let mut bytes = first.to_vec();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
