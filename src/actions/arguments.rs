//! The command line: a command, and a flag for each input.

use std::collections::BTreeMap;
use std::ffi::OsString;

use lexopt::prelude::{Long, Short, Value};

/// The action that the command line requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Runs a command.
    Run(Arguments),
    /// Prints the help and exits.
    Help,
    /// Prints the version and exits.
    Version,
}

/// The inputs that were given as flags, by name. `command` is the first word that is no flag.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments(BTreeMap<String, String>);

/// The reason why the command line cannot be parsed.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// Not a flag of this program.
    #[error("`{0}` is not a flag of this program; `--help` lists all flags")]
    Unknown(String),
    /// A surplus word.
    #[error(
        "`{0}` is an unexpected argument: give one command, then flags; write the value of a boolean flag as in `--sign=false`, or leave it out for `true`"
    )]
    Surplus(String),
    /// Any other error of the command line.
    #[error("the command line cannot be read")]
    Malformed(#[from] lexopt::Error),
}

impl Invocation {
    /// Parses the command line without the program's name. `names` are the inputs; those in `switches` need no value.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        names: &[&str],
        switches: &[&str],
    ) -> Result<Self, ArgumentError> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut given = BTreeMap::new();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Self::Help),
                Short('V') | Long("version") => return Ok(Self::Version),
                Long(name) => {
                    let name = name.to_owned();
                    if !names.contains(&name.as_str()) {
                        return Err(ArgumentError::Unknown(format!("--{name}")));
                    }
                    let value = if switches.contains(&name.as_str()) {
                        parser
                            .optional_value()
                            .unwrap_or_else(|| OsString::from("true"))
                    } else {
                        parser.value()?
                    };
                    given.insert(
                        name,
                        value
                            .into_string()
                            .map_err(lexopt::Error::NonUnicodeValue)?,
                    );
                }
                Short(letter) => return Err(ArgumentError::Unknown(format!("-{letter}"))),
                Value(word) => {
                    let word = word.into_string().map_err(lexopt::Error::NonUnicodeValue)?;
                    if given.contains_key("command") {
                        return Err(ArgumentError::Surplus(word));
                    }
                    given.insert("command".to_owned(), word);
                }
            }
        }
        Ok(Self::Run(Arguments(given)))
    }
}

impl Arguments {
    pub(super) fn get(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Invocation, ArgumentError> {
        Invocation::parse(
            words.iter().map(OsString::from),
            &["image", "recursive", "command"],
            &["recursive"],
        )
    }

    #[test]
    fn flags_are_inputs() {
        let Invocation::Run(arguments) =
            parse(&["verify", "--image", "a b", "--recursive"]).unwrap()
        else {
            panic!("not a run")
        };
        assert_eq!(arguments.get("command").map(String::as_str), Some("verify"));
        assert_eq!(arguments.get("image").map(String::as_str), Some("a b"));
        assert_eq!(arguments.get("recursive").map(String::as_str), Some("true"));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for words in [
            &["verify", "sign"][..],
            &["--imag", "x"],
            &["--image"],
            &["-x"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
