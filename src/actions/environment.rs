//! The variables, the workspace, and the runner's files for outputs, variables and summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use super::Arguments;
use crate::domain::{Digest, Secret, SourceRepository};

/// The largest file that an input may name.
const FILE_MAX_BYTES: u64 = 4 << 20;
/// GitHub cuts a step's summary at 1 MiB.
const SUMMARY_MAX_BYTES: usize = 1 << 20;

/// The environment of a run, read once.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    arguments: Arguments,
}

const GITHUB: &str = "https://github.com";

/// The error for a runner's file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write `{path}`, which `{variable}` names")]
pub struct EnvironmentError {
    variable: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Environment {
    /// Reads the environment. Variables that are not Unicode are dropped, but inputs are kept.
    ///
    /// An input that cannot be read, such as a condition of `verify`, must not count as absent. Its bad bytes become a
    /// character that no input may contain.
    pub fn new(
        variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        arguments: Arguments,
    ) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok()?;
            let value = match value.into_string() {
                Ok(value) => value,
                Err(value) if name.starts_with("INPUT_") => value.to_string_lossy().into_owned(),
                Err(_) => return None,
            };
            Some((name, value))
        };
        Self {
            variables: variables.filter_map(text).collect(),
            arguments,
        }
    }

    /// Returns an input's text: the flag, else the runner's variable. Hyphens stay as they are.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<String> {
        let variable = format!("INPUT_{}", name.to_uppercase().replace(' ', "_"));
        self.arguments
            .get(name)
            .or_else(|| self.variables.get(&variable))
            .cloned()
    }

    /// Returns a variable; an empty one counts as absent.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// Returns the public texts of this run and texts derived from them. None of them is a secret, even if a service
    /// returns one as a token.
    #[must_use]
    pub fn public_text(&self) -> String {
        let is_secret = |name: &str| {
            let name = name.to_uppercase().replace('-', "_");
            name.ends_with("TOKEN") || name.ends_with("AUTHS")
        };
        let variables = self.variables.iter();
        let variables = variables.filter(|(name, _)| {
            (name.starts_with("GITHUB_") || name.starts_with("INPUT_")) && !is_secret(name)
        });
        let mut known: Vec<String> = variables.map(|(_, value)| value.clone()).collect();
        // Identities start with one of these two.
        let server = self.variable("GITHUB_SERVER_URL").unwrap_or(GITHUB);
        for name in ["GITHUB_REPOSITORY", "GITHUB_WORKFLOW_REF"] {
            let name = self.variable(name).unwrap_or_default();
            known.push(format!("{server}/{name}"));
        }
        known.join("\n")
    }

    /// Returns the repository of the workflow, if GitHub runs this. No token is needed for that.
    #[must_use]
    pub fn source_repository(&self) -> Option<SourceRepository> {
        Some(SourceRepository {
            name: self.variable("GITHUB_REPOSITORY")?.to_owned(),
            server: self
                .variable("GITHUB_SERVER_URL")
                .unwrap_or(GITHUB)
                .to_owned(),
        })
    }

    /// Returns a variable whose value is a secret.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.variable(name).map(Secret::new)
    }

    /// Returns a path in the workspace; an absolute path stays as it is.
    #[must_use]
    pub fn workspace_path(&self, path: &Path) -> PathBuf {
        Path::new(self.variable("GITHUB_WORKSPACE").unwrap_or(".")).join(path)
    }

    /// Reads a file of the workspace.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        read_bounded(&self.workspace_path(Path::new(path)))
    }

    /// Lists the names of the files in a folder of the workspace, sorted; dot-files are not listed.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.workspace_path(Path::new(path)))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Reads Docker's `config.json`: its bytes and its path. `None` only if there is no such file.
    pub fn docker_config(&self) -> io::Result<Option<(Vec<u8>, String)>> {
        let named = self
            .variable("DOCKER_CONFIG")
            .map(|folder| Path::new(folder).join("config.json"));
        let at_home = self
            .variable("HOME")
            .map(|home| Path::new(home).join(".docker/config.json"));
        let Some(path) = named.or(at_home) else {
            return Ok(None);
        };
        match read_bounded(&path) {
            Ok(content) => Ok(Some((content, path.display().to_string()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the folder for files that are kept between runs on one machine.
    #[must_use]
    pub fn cache(&self) -> Option<PathBuf> {
        let named = self.variable("XDG_CACHE_HOME").map(PathBuf::from);
        let at_home = self
            .variable("HOME")
            .map(|home| Path::new(home).join(".cache"));
        named.or(at_home).map(|folder| folder.join("manifest-seal"))
    }

    /// Writes the outputs of the step. Outside of the runner nothing is written.
    ///
    /// If an output is written twice, the runner takes the last value.
    pub fn write_outputs(&self, outputs: &[(&str, String)]) -> Result<(), EnvironmentError> {
        self.append("GITHUB_OUTPUT", blocks(outputs).as_bytes())
    }

    /// Exports a variable to the later steps of the job, even if this step fails. Outside of the runner nothing is written.
    pub fn export(&self, name: &str, value: String) -> Result<(), EnvironmentError> {
        self.append("GITHUB_ENV", blocks(&[(name, value)]).as_bytes())
    }

    /// Appends to the job's summary, cut at GitHub's limit.
    pub fn write_summary(&self, markdown: &str) -> Result<(), EnvironmentError> {
        let end = markdown.floor_char_boundary(SUMMARY_MAX_BYTES - 1);
        self.append(
            "GITHUB_STEP_SUMMARY",
            markdown.as_bytes().get(..end).unwrap_or_default(),
        )
    }

    fn append(&self, variable: &'static str, text: &[u8]) -> Result<(), EnvironmentError> {
        let Some(path) = self.variable(variable) else {
            return Ok(());
        };
        let failed = |source| EnvironmentError {
            variable,
            path: PathBuf::from(path),
            source,
        };
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        file.write_all(text).map_err(failed)
    }

    /// Returns `path` for the next step: relative to the workspace.
    #[must_use]
    pub fn relative(path: &Path) -> String {
        path.components()
            .filter(|part| *part != Component::CurDir)
            .collect::<PathBuf>()
            .display()
            .to_string()
    }
}

/// Names and values in the format of the runner's files, each in a block of its own.
fn blocks(values: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in values {
        // SECURITY: a value cannot contain its own digest, so it cannot end the block early and add others.
        let delimiter = format!("end_{}", Digest::of(value.as_bytes()).hex());
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}<<{delimiter}\n{value}\n{delimiter}\n");
    }
    text
}

pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = fs::File::open(path)?;
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 4 MiB",
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Environment::new(variables.into_iter(), Arguments::default())
    }

    #[test]
    fn hyphens_in_input_names_stay() {
        assert_eq!(
            environment(&[("INPUT_DRY-RUN", "true")])
                .input("dry-run")
                .as_deref(),
            Some("true")
        );
        assert_eq!(
            environment(&[("INPUT_DRY_RUN", "true")]).input("dry-run"),
            None
        );
    }

    #[test]
    fn input_that_is_no_text_is_not_one_that_was_not_given() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || std::ffi::OsString::from_vec(vec![b'o', 0xff]);
        let variables = [("INPUT_TAGS".into(), odd()), ("HOME".into(), odd())];
        let environment = Environment::new(variables.into_iter(), Arguments::default());
        assert_eq!(environment.input("tags").as_deref(), Some("o\u{fffd}"));
        assert_eq!(environment.variable("HOME"), None);
    }

    #[test]
    fn endless_docker_config_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("config.json")).unwrap();
        let home = folder.path().to_str().unwrap();
        let read = environment(&[("DOCKER_CONFIG", home)]).docker_config();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn an_output_cannot_end_its_own_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let environment = environment(&[("GITHUB_OUTPUT", path.to_str().unwrap())]);
        environment
            .write_outputs(&[("a", "1\nend_00\nb<<x\n2".to_owned()), ("c", String::new())])
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let first = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("a<<"))
            .unwrap();
        assert_eq!(
            text.lines().filter(|line| *line == first).count(),
            1,
            "{text}"
        );
        assert!(text.contains(&format!("\n{first}\nc<<")), "{text}");
    }

    #[test]
    fn a_docker_config_that_cannot_be_read_is_not_absent() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert!(
            environment(&[("DOCKER_CONFIG", home)])
                .docker_config()
                .unwrap()
                .is_none()
        );
        let config = folder.path().join("config.json");
        fs::write(&config, vec![b' '; 5 << 20]).unwrap();
        assert!(
            environment(&[("DOCKER_CONFIG", home)])
                .docker_config()
                .is_err()
        );
        fs::remove_file(&config).unwrap();
        fs::create_dir(&config).unwrap();
        assert!(
            environment(&[("DOCKER_CONFIG", home)])
                .docker_config()
                .is_err()
        );
    }
}
