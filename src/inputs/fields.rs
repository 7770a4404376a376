//! Reads single inputs into types and keeps every error, so that a run reports all of them together.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::error::{InputError, InputErrors};
use super::grammar::{self, Separator};
use super::raw::RawInputs;
use crate::domain::{ImageReference, Matcher, PatternError, ReferenceError, RetryPolicy, Secret};

/// Readers for inputs that name files. Relative paths start at the workspace.
pub struct Files<'a> {
    /// Reads a file; the size is bounded.
    pub read: &'a dyn Fn(&str) -> std::io::Result<Vec<u8>>,
    /// Returns the path of a file or folder.
    pub path: &'a dyn Fn(&str) -> PathBuf,
    /// Lists the names of the files in a folder.
    pub list: &'a dyn Fn(&str) -> std::io::Result<Vec<String>>,
}

/// The beginning of a PEM document.
pub(super) const PEM_SIGN: &str = "-----BEGIN";

pub(super) struct Fields<'a> {
    raw: &'a RawInputs,
    files: &'a Files<'a>,
    errors: Vec<InputError>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(raw: &'a RawInputs, files: &'a Files<'a>) -> Self {
        Self {
            raw,
            files,
            errors: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Result<(), InputErrors> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(InputErrors(self.errors))
        }
    }

    pub(super) fn refuse(&mut self, input: &'static str, problem: impl Into<String>) {
        self.errors.push(InputError {
            input,
            problem: problem.into(),
        });
    }

    pub(super) fn is_refused(&self, input: &str) -> bool {
        self.errors.iter().any(|error| error.input == input)
    }

    pub(super) fn text(&self, input: &'static str) -> Option<&'a str> {
        self.raw.get(input)
    }

    pub(super) fn owned(&self, input: &'static str) -> Option<String> {
        self.text(input).map(str::to_owned)
    }

    pub(super) fn secret(&self, input: &'static str) -> Option<Secret> {
        self.text(input).map(Secret::new)
    }

    /// Reads an input by its grammar. An error is kept, and the input then counts as not given.
    pub(super) fn parsed<T>(
        &mut self,
        input: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(input)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(input, problem);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, input: &'static str, default: bool) -> bool {
        self.parsed(input, grammar::boolean).unwrap_or(default)
    }

    /// Reads the input `image`, with or without a tag or digest.
    pub(super) fn image(&mut self) -> Option<ImageReference> {
        self.parsed("image", |text| {
            text.parse()
                .map_err(|error: ReferenceError| error.to_string())
        })
    }

    /// Reads one of several words; `default` if none is given.
    pub(super) fn word<T: Copy>(
        &mut self,
        input: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        self.parsed(input, |text| grammar::word(text, words))
            .unwrap_or(default)
    }

    /// Reads every entry of a comma-separated list. Duplicates are dropped; each bad entry is an error of its own.
    pub(super) fn each<T>(&mut self, input: &'static str) -> Vec<T>
    where
        T: FromStr + Ord + Clone,
        T::Err: Display,
    {
        let mut seen = BTreeSet::new();
        let mut values = Vec::new();
        for entry in grammar::list(self.text(input).unwrap_or_default(), Separator::Comma) {
            match entry.parse::<T>() {
                Ok(value) if seen.insert(value.clone()) => values.push(value),
                Ok(_) => {}
                Err(error) => self.refuse(input, error.to_string()),
            }
        }
        values
    }

    /// Reads an exact text or a pattern, from two inputs of which at most one may be given.
    pub(super) fn matcher(
        &mut self,
        exact: &'static str,
        pattern: &'static str,
    ) -> Option<Matcher> {
        let wanted = self.owned(exact).map(Matcher::Exact);
        let compiled = self.parsed(pattern, |text| {
            Matcher::pattern(text).map_err(|error| match &error {
                PatternError::TooLong => error.to_string(),
                PatternError::Invalid { source, .. } => format!("{error}: {source}"),
            })
        });
        if wanted.is_some() && self.text(pattern).is_some() {
            self.refuse(
                pattern,
                format!("it cannot be combined with `{exact}`; give one of the two"),
            );
        }
        wanted.or(compiled)
    }

    /// Returns the content of an input that is a document or the path of one. A document starts with `sign`.
    pub(super) fn document(&mut self, input: &'static str, sign: &str) -> Option<Vec<u8>> {
        let text = self.text(input)?;
        // PEM may have comments before it. JSON has none.
        let is_document = text.starts_with(sign) || (sign == PEM_SIGN && text.contains(sign));
        if is_document {
            return Some(text.as_bytes().to_vec());
        }
        if text.contains('\n') {
            self.refuse(
                input,
                format!("it is neither a path nor a document that begins with `{sign}`"),
            );
            return None;
        }
        match (self.files.read)(text) {
            Ok(content) => Some(content),
            Err(error) => {
                self.refuse(
                    input,
                    format!("could not read `{text}`: {error}; a path must lie in the workspace"),
                );
                None
            }
        }
    }

    /// Returns the path of a file or folder that an input names.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        (self.files.path)(text)
    }

    /// Lists the file names in the folder that an input names.
    pub(super) fn folder(&mut self, input: &'static str) -> Option<Vec<String>> {
        let path = self.text(input)?;
        match (self.files.list)(path) {
            Ok(names) => Some(names),
            Err(error) => {
                self.refuse(
                    input,
                    format!("could not list `{path}`: {error}; it must lie in the workspace"),
                );
                None
            }
        }
    }

    /// True if `name` is a folder in the folder that an input names.
    pub(super) fn is_folder(&self, input: &'static str, name: &str) -> bool {
        let path = Path::new(self.text(input).unwrap_or_default()).join(name);
        path.to_str()
            .is_some_and(|path| (self.files.list)(path).is_ok())
    }

    pub(super) fn record_path(&mut self) -> PathBuf {
        let path = Path::new(self.text("record").unwrap_or("manifest-seal.json"));
        // An absolute path of the container has no meaning in the next step, and root writes the record.
        if !path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            self.refuse(
                "record",
                format!(
                    "`{}` must be a relative path inside the workspace",
                    path.display()
                ),
            );
        }
        path.to_owned()
    }

    pub(super) fn retry_policy(&mut self) -> RetryPolicy {
        let default = RetryPolicy::default();
        let attempts = |text: &str| {
            let number = text
                .parse::<u32>()
                .ok()
                .filter(|number| (1..=100).contains(number));
            number.ok_or_else(|| format!("`{text}` is not a number of attempts from 1 to 100"))
        };
        RetryPolicy {
            max_attempts: self
                .parsed("max-attempts", attempts)
                .unwrap_or(default.max_attempts),
            delay: self
                .parsed("retry-delay", grammar::duration)
                .unwrap_or(default.delay),
            max_delay: self
                .parsed("retry-max-delay", grammar::duration)
                .unwrap_or(default.max_delay),
            at_least: default.at_least,
            propagation: self
                .parsed("propagation", grammar::duration)
                .unwrap_or(default.propagation),
        }
    }
}
