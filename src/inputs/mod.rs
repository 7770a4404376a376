//! Strings in, types out. Code after this room never parses a workflow's string again.
//!
//! Parsing collects: one run reports every bad input, because each failed round trip costs the author minutes. This room
//! defines the grammar of every input and the inputs of every command. It must not depend on how files are read or where
//! strings come from.

mod auths;
mod cleanup;
mod error;
mod fields;
mod grammar;
mod parts;
mod preflight;
mod publish;
mod raw;
mod repositories;
mod requests;
mod settings;
mod values;

pub use auths::RegistryAuth;
pub use cleanup::Cleanup;
pub use error::{InputError, InputErrors};
pub use fields::Files;
pub use preflight::{OnExistingTag, Preflight};
pub use publish::{Publish, PublishSource, ReferrerSelection};
pub use raw::{INPUTS, Input, RawInputs};
pub use requests::Request;
pub use settings::{Mode, Settings};
pub use values::{
    Command, Depth, Formats, Given, IndexType, Named, OnSigningFailure, Order, PolicyInputs, Seal,
    Sign, Signing, Subjects, Verify,
};

use fields::Fields;

/// A run's inputs, parsed and checked.
#[derive(Debug)]
pub struct Inputs {
    /// The command that was given.
    pub command: Command,
    /// The work to do.
    pub request: Request,
    /// The settings for any command.
    pub settings: Settings,
}

impl Inputs {
    /// Parses all inputs, or returns all of their problems.
    pub fn parse(raw: &RawInputs, files: &Files<'_>) -> Result<Self, InputErrors> {
        let mut fields = Fields::new(raw, files);
        let command = requests::command(&mut fields);
        let request =
            command.and_then(|command| Some((command, requests::request(&mut fields, command)?)));
        let settings = settings::settings(&mut fields);
        match (request, fields.finish()) {
            (Some((command, request)), Ok(())) => Ok(Self {
                command,
                request,
                settings,
            }),
            (_, Err(errors)) => Err(errors),
            (None, Ok(())) => Err(InputErrors(vec![InputError {
                input: "command",
                problem: "no command is given".to_owned(),
            }])),
        }
    }
}

#[cfg(test)]
mod tests;
