//! `cargo run -p sandbox`: the tour of `manifest-seal`; `cargo run -p sandbox -- serve`: a registry and a Sigstore to use
//! by hand.

mod job;
mod serve;
mod terminal;
mod tour;

use std::process::ExitCode;
use terminal::Terminal;

const USAGE: &str = "\
cargo run -p sandbox            the tour: seals, reruns, verifies; ends by itself
cargo run -p sandbox -- serve   keeps a registry and a Sigstore up until Ctrl-C";

fn main() -> anyhow::Result<ExitCode> {
    let mut terminal = Terminal::new();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {
            let held = tour::run(&mut terminal)?;
            Ok(if held {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        ["serve"] => {
            serve::run(&mut terminal)?;
            Ok(ExitCode::SUCCESS)
        }
        ["-h" | "--help"] => {
            terminal.line(USAGE)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!("unknown arguments\n{USAGE}"),
    }
}
