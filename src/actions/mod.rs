//! The runner's side of things: where a run's strings come from and where its words go.
//!
//! The environment is read once and written once, here. This room knows GitHub's files and workflow commands, and that
//! there may be a terminal or neither; it takes and returns plain strings and paths, and refuses to know what they mean.

mod arguments;
mod commands;
mod console;
mod environment;
mod event;

pub use arguments::{ArgumentError, Arguments, Invocation};
pub use console::Console;
pub use environment::{Environment, EnvironmentError};
