//! The runner: the source of a run's strings and the destination of its output.
//!
//! The environment is read once and written once, here. This room handles GitHub's files, workflow commands and
//! terminals. It takes and returns plain strings and paths, and must not interpret them.

mod arguments;
mod commands;
mod console;
mod environment;
mod event;
mod output_queue;

pub use arguments::{ArgumentError, Arguments, Invocation};
pub use console::Console;
pub use environment::{Environment, EnvironmentError, LookAlike};
