//! The process edge: reads the environment, runs, and exits with the exit code.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use manifest_seal::actions::{Console, Environment, Invocation};
use manifest_seal::inputs::INPUTS;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<ExitCode> {
    let in_actions = std::env::var("GITHUB_ACTIONS").is_ok_and(|text| text == "true");
    let console = Arc::new(Console::new(in_actions));
    let code = run(&console);
    console.finish();
    code
}

fn run(console: &Arc<Console>) -> anyhow::Result<ExitCode> {
    let names: Vec<&str> = INPUTS.iter().map(|input| input.name).collect();
    let is_switch = |default: &str| default == "true" || default == "false";
    let switches: Vec<&str> = INPUTS
        .iter()
        .filter(|input| is_switch(input.default))
        .map(|input| input.name)
        .collect();
    let arguments = match Invocation::parse(std::env::args_os().skip(1), &names, &switches) {
        Ok(Invocation::Run(arguments)) => arguments,
        Ok(Invocation::Help) => {
            console.line(&help());
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Invocation::Version) => {
            console.line(concat!("manifest-seal ", env!("CARGO_PKG_VERSION")));
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Ok(manifest_seal::fail(console, &error.into()).into()),
    };
    let environment = Environment::new(std::env::vars_os(), arguments);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let stop = stopped()?;
        anyhow::Ok(Box::pin(manifest_seal::run(&environment, console, stop)).await)
    })?;
    // A DNS lookup that is still running must not delay the exit.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Resolves when the process gets a signal to stop. The container of a cancelled job gets SIGTERM or SIGINT. A terminal
/// that closes sends SIGHUP.
fn stopped() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
            _ = quit.recv() => "SIGQUIT",
        }
    })
}

fn help() -> String {
    let mut text = String::from(
        "Makes a multi-arch image index from per-platform digests, signs it, verifies it; a rerun gives the same result.\n\n\
         manifest-seal [COMMAND] [--INPUT VALUE]...\n\n\
         COMMAND is seal (the default), create, sign, verify, preflight, publish or cleanup.\n\
         Exit codes: 0 done; 1 network, registry, permission or Sigstore problem; 2 wrong inputs, nothing was changed; 3 refused.\n\n\
         Every input is a flag, and INPUT_NAME in the environment is another way to give it.\n\
         A boolean flag needs no value, or takes one as in --sign=false.\n",
    );
    for input in INPUTS {
        let default = if input.default.is_empty() {
            String::new()
        } else {
            format!(" [{}]", input.default)
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  --{:<42} {}{default}", input.name, input.meaning);
    }
    text
}
