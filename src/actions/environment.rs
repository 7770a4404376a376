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
    /// The variables whose values are not UTF-8.
    not_text: Vec<String>,
    arguments: Arguments,
}

/// The bytes of a byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const GITHUB: &str = "https://github.com";

/// The variables that are read besides inputs. Proxies are read in both letter cases.
const USED_VARIABLES: &[&str] = &[
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ALL_PROXY",
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DOCKER_CONFIG",
    "GITHUB_ACTOR",
    "GITHUB_ENV",
    "GITHUB_EVENT_NAME",
    "GITHUB_EVENT_PATH",
    "GITHUB_OUTPUT",
    "GITHUB_REPOSITORY",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKFLOW_REF",
    "GITHUB_WORKSPACE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SIGSTORE_ID_TOKEN",
    "XDG_CACHE_HOME",
];

/// The reason why the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A runner's file cannot be written.
    #[error("could not write `{path}`, which `{variable}` names")]
    Unwritable {
        /// The variable.
        variable: &'static str,
        /// The path in it.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Docker's config exists and cannot be read.
    #[error("could not read Docker's `{path}`")]
    DockerConfig {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Variables whose values are not UTF-8.
    #[error("the value of {} is not UTF-8 text", list(.0))]
    NotText(Vec<String>),
}

/// An environment variable that looks like an input and is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAlike {
    /// The name of the input.
    pub input: &'static str,
    /// The name of the variable.
    pub variable: String,
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Takes off a byte order mark, and white space at both ends. Tools that write secrets and files add them.
fn bare(text: &str) -> &str {
    text.trim().trim_start_matches('\u{feff}').trim_start()
}

impl Environment {
    /// Reads the environment. Variables whose values are not UTF-8 are kept apart; [`Self::check_text`] refuses those that
    /// are used.
    pub fn new(
        variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        arguments: Arguments,
    ) -> Self {
        let (mut texts, mut not_text) = (BTreeMap::new(), Vec::new());
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(texts.insert(name, value)),
                Err(_) => not_text.push(name),
            }
        }
        Self {
            variables: texts,
            not_text,
            arguments,
        }
    }

    /// Checks that every variable that is used is UTF-8 text. A value that cannot be read must not count as absent.
    pub fn check_text(&self, inputs: &[&str]) -> Result<(), EnvironmentError> {
        let inputs: Vec<String> = inputs.iter().map(|input| variable_of(input)).collect();
        let is_used = |name: &&String| {
            inputs.contains(name) || USED_VARIABLES.contains(&name.to_ascii_uppercase().as_str())
        };
        let mut odd: Vec<String> = self.not_text.iter().filter(is_used).cloned().collect();
        odd.sort();
        if odd.is_empty() {
            Ok(())
        } else {
            Err(EnvironmentError::NotText(odd))
        }
    }

    /// Checks that the runner's files for outputs and variables can be written, before anything is changed.
    pub fn check_files(&self) -> Result<(), EnvironmentError> {
        self.append("GITHUB_OUTPUT", b"")?;
        self.append("GITHUB_ENV", b"")
    }

    /// Returns the variables that name an input with other letters, as with `_` for `-`. The runner sets none of them, and
    /// nobody reads them.
    #[must_use]
    pub fn look_alikes(&self, inputs: &[&'static str]) -> Vec<LookAlike> {
        let key = |name: &str| name.to_ascii_uppercase().replace('-', "_");
        let given = self
            .variables
            .iter()
            .filter(|(_, value)| !value.trim().is_empty());
        let mut found = Vec::new();
        for (variable, _) in given {
            let mut inputs = inputs.iter().copied();
            let input = inputs.find(|input| key(&variable_of(input)) == key(variable));
            if let Some(input) = input.filter(|input| variable_of(input) != *variable) {
                let variable = variable.clone();
                found.push(LookAlike { input, variable });
            }
        }
        found
    }

    /// Returns an input's text: the flag, else the runner's variable. Hyphens stay as they are.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<String> {
        let text = self.arguments.get(name);
        let text = text.or_else(|| self.variables.get(&variable_of(name)))?;
        Some(bare(text).to_owned())
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
        let text = self.variable(name).map(bare);
        text.filter(|text| !text.is_empty()).map(Secret::new)
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

    /// Reads Docker's `config.json`: its bytes and its path. `None` only if there is no such file, or it is empty.
    pub fn docker_config(&self) -> Result<Option<(Vec<u8>, String)>, EnvironmentError> {
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
            // Some tools create the file before they write to it.
            Ok(content) if content.trim_ascii().is_empty() => Ok(None),
            Ok(content) => Ok(Some((content, path.display().to_string()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EnvironmentError::DockerConfig {
                path,
                source: error,
            }),
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
        let failed = |source| EnvironmentError::Unwritable {
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

/// Returns the variable of an input. Hyphens stay as they are. Source: actions/runner, `ActionRunner`.
fn variable_of(input: &str) -> String {
    format!("INPUT_{}", input.to_uppercase().replace(' ', "_"))
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

/// Reads a text file, without the byte order mark that some editors write.
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
    if content.starts_with(BYTE_ORDER_MARK) {
        content.drain(..BYTE_ORDER_MARK.len());
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
    fn value_that_is_not_text_is_refused_where_it_is_used() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = || std::ffi::OsString::from_vec(vec![b'o', 0xff]);
        let names = [
            "INPUT_TAGS",
            "https_proxy",
            "HOME",
            "LS_COLORS",
            "INPUT_ELSE",
        ];
        let variables = names.map(|name| (name.into(), odd()));
        let environment = Environment::new(variables.into_iter(), Arguments::default());
        let error = environment.check_text(&["tags"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the value of `HOME`, `INPUT_TAGS`, `https_proxy` is not UTF-8 text"
        );
    }

    #[test]
    fn every_variable_that_is_read_is_listed() {
        for file in [
            "src/actions/environment.rs",
            "src/actions/event.rs",
            "src/run.rs",
        ] {
            let text = fs::read_to_string(file).unwrap();
            for call in ["variable(\"", "secret(\"", "text(\"AWS", "append(\""] {
                for after in text.split(call).skip(1) {
                    let prefix = if call.ends_with("AWS") { "AWS" } else { "" };
                    let name = after.split('"').next().unwrap();
                    let name = format!("{prefix}{name}");
                    let is_name = name
                        .chars()
                        .all(|letter| letter.is_ascii_uppercase() || letter == '_');
                    assert!(
                        !is_name || USED_VARIABLES.contains(&name.as_str()),
                        "{file}: {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn variables_that_look_like_an_input_are_found() {
        let environment = environment(&[
            ("INPUT_DRY_RUN", "true"),
            ("INPUT_DRY-RUN", "false"),
            ("INPUT_MAX_ATTEMPTS", " "),
            ("INPUT_tags", "v1"),
            ("INPUT_OTHER_ACTION", "x"),
        ]);
        let found = environment.look_alikes(&["dry-run", "max-attempts", "tags"]);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.input, one.variable.as_str()))
            .collect();
        assert_eq!(
            found,
            [("dry-run", "INPUT_DRY_RUN"), ("tags", "INPUT_tags")]
        );
    }

    #[test]
    fn byte_order_marks_and_line_ends_are_taken_off() {
        let environment = environment(&[
            ("INPUT_GITHUB-TOKEN", "\u{feff}token\r\n"),
            ("SIGSTORE_ID_TOKEN", "\u{feff} a.b.c\n"),
        ]);
        assert_eq!(environment.input("github-token").as_deref(), Some("token"));
        let token = environment.secret("SIGSTORE_ID_TOKEN").unwrap();
        assert_eq!(token.expose(), "a.b.c");
    }

    #[test]
    fn empty_docker_config_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let config = folder.path().join("config.json");
        let read = || {
            environment(&[("DOCKER_CONFIG", home)])
                .docker_config()
                .unwrap()
        };
        fs::write(&config, " \n").unwrap();
        assert!(read().is_none());
        fs::write(&config, "\u{feff}{}").unwrap();
        assert_eq!(read().unwrap().0, b"{}");
    }

    #[test]
    fn endless_docker_config_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("config.json")).unwrap();
        let home = folder.path().to_str().unwrap();
        let read = environment(&[("DOCKER_CONFIG", home)]).docker_config();
        let is_too_large = |error: &EnvironmentError| match error {
            EnvironmentError::DockerConfig { source, .. } => {
                source.kind() == io::ErrorKind::FileTooLarge
            }
            EnvironmentError::Unwritable { .. } | EnvironmentError::NotText(_) => false,
        };
        assert!(read.is_err_and(|error| is_too_large(&error)));
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
