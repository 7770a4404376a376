//! The surroundings of a run: runner files that cannot be written, signals, a reader of the log that stops reading,
//! variables that nobody reads, and folders of other users.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::Fault;

use crate::support::{Action, World, program, until};

#[test]
fn output_that_cannot_be_written_fails_before_any_change() {
    for variable in ["GITHUB_OUTPUT", "GITHUB_ENV"] {
        let world = World::new();
        world.registry().clear_requests();
        let outcome = world.create().env(variable, "/dev/null/file").end_with(1);
        outcome.says(&["could not write `/dev/null/file`", variable]);
        assert_eq!(world.writes(), [""; 0]);
    }
}

#[test]
fn summary_that_cannot_be_written_is_a_warning() {
    let world = World::new();
    let action = world.create().env("GITHUB_STEP_SUMMARY", "/dev/null/file");
    let outcome = action.succeed();
    outcome
        .says(&["::warning::could not write `/dev/null/file`, which `GITHUB_STEP_SUMMARY` names"]);
    assert_eq!(outcome.output("result"), "created");
}

#[test]
fn missing_workspace_is_a_warning_in_actions() {
    let world = World::new();
    let outcome = world.create().env("GITHUB_WORKSPACE", "").succeed();
    outcome.says(&["::warning::`GITHUB_WORKSPACE` is not set"]);
}

#[test]
fn variable_that_looks_like_an_input_is_refused() {
    let world = World::new();
    let outcome = world
        .create()
        .env("INPUT_DRY_RUN", "true")
        .env("INPUT_MAX_ATTEMPTS", "1")
        .end_with(2);
    outcome.says(&[
        "input `dry-run`: the variable `INPUT_DRY_RUN` is not read; this input is `--dry-run`, or the variable `INPUT_DRY-RUN`",
        "input `max-attempts`: the variable `INPUT_MAX_ATTEMPTS` is not read",
    ]);
    assert_eq!(world.tags().len(), 0);
}

#[test]
fn variable_that_is_not_text_is_refused() {
    for name in ["INPUT_TAGS", "HOME", "no_proxy"] {
        let mut run = program();
        run.env_clear().env(name, OsStr::from_bytes(b"v\xff"));
        let output = run.output().unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{log}");
        let wanted = format!("the value of `{name}` is not UTF-8 text");
        assert!(log.contains(&wanted), "{log}");
    }
}

#[test]
fn too_many_open_files_are_no_outage_of_sigstore_or_the_registry() {
    let world = World::new();
    let seal = world.seal().input("max-attempts", "1");
    let seal = seal.input("on-signing-failure", "warn");
    // From a limit that ends the run at its first file to one that leaves room for all connections.
    let (mut seen, mut hinted) = (0, false);
    for limit in [8, 9, 10, 11, 12, 14, 16, 20] {
        let step = seal.step();
        let variables = step
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let mut limited = Command::new("prlimit");
        limited
            .arg(format!("--nofile={limit}"))
            .arg(step.get_program())
            .env_clear()
            .envs(variables)
            .current_dir(step.get_current_dir().unwrap());
        let output = limited.output().unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        if log.contains("Too many open files") {
            seen += 1;
            assert_ne!(output.status.code(), Some(0), "{limit}: {log}");
            assert!(!log.contains("Sigstore may be down"), "{limit}: {log}");
            assert!(!log.contains("is the right registry"), "{limit}: {log}");
            assert!(!log.contains("through the proxy"), "{limit}: {log}");
            hinted |= log.contains("this machine permits no more open files");
        }
    }
    assert!(seen > 0 && hinted);
}

/// Starts a run that never gets the response to its first write of a tag, and waits for that write.
fn stuck(world: &World, action: &Action) -> crate::support::Running {
    let write = Fault::on("PUT", "*/manifests/v1").times(u32::MAX);
    world.registry().fault(write.delay(Duration::from_mins(10)));
    let running = action.begin();
    until("the write", || {
        let requests = world.registry().requests();
        requests.iter().any(|request| request.faulty)
    });
    running
}

#[test]
fn every_signal_to_stop_ends_the_run_with_its_record() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let world = World::new();
        let action = world.create();
        let outcome = stuck(&world, &action).signal(signal);
        assert_eq!(outcome.code, 1, "{}", outcome.log);
        outcome.says(&[&format!("SIG{signal}")]);
        let record = action.record();
        outcome.says(&[record["images"][0]["digest"].as_str().unwrap()]);
    }
}

/// Runs the action with a full pipe as its standard output, which nobody reads.
fn unread(world: &World, action: &Action, meanwhile: impl FnOnce(u32)) -> (i32, Duration) {
    let (reader, mut pipe) = std::io::pipe().unwrap();
    // The capacity of a pipe (pipe(7)).
    pipe.write_all(&vec![b'\n'; 65536]).unwrap();
    let mut child = action
        .step()
        .stdout(pipe)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the write", || {
        let requests = world.registry().requests();
        requests.iter().any(|request| request.faulty)
    });
    let begin = Instant::now();
    meanwhile(child.id());
    let status = child.wait().unwrap();
    drop(reader);
    (status.code().unwrap_or(-1), begin.elapsed())
}

#[test]
fn full_pipe_holds_neither_a_signal_nor_the_time_limit_nor_the_record() {
    let kill = |id: u32| {
        let sent = Command::new("kill")
            .args(["-TERM", &id.to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    for (timeout, signalled) in [("6m", true), ("2s", false)] {
        let world = World::new();
        let write = Fault::on("PUT", "*/manifests/v1").times(u32::MAX);
        world.registry().fault(write.delay(Duration::from_mins(10)));
        let action = world.create().input("timeout", timeout);
        let (code, _) = unread(&world, &action, |id| {
            if signalled {
                kill(id);
            }
        });
        assert_eq!(code, 1);
        assert_eq!(action.record()["images"][0]["tags"][0]["tag"], "v1");
    }
}

/// Runs as a user who may not give files away, in a folder of another user.
#[test]
fn folder_of_another_user_gets_the_record() {
    let world = World::new();
    let user = fs::metadata("/proc/self").unwrap().uid();
    // Root may give files away.
    let user_without_rights = if user == 0 { 1000 } else { user };
    let folder = tempfile::tempdir().unwrap();
    // A user without rights must reach the program and the workspace.
    let everyone = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let workspace = folder.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    everyone(folder.path(), 0o755);
    everyone(&workspace, 0o1777);
    let copy = folder.path().join("program");
    fs::copy(program().get_program(), &copy).unwrap();
    let mut run = Command::new(&copy);
    run.env_clear()
        .env("GITHUB_WORKSPACE", &workspace)
        .env("INPUT_COMMAND", "create")
        .env("INPUT_IMAGE", world.image())
        .env("INPUT_TAGS", "v1")
        .env(
            "INPUT_DIGESTS",
            format!("{},{}", world.amd64.digest, world.arm64.digest),
        )
        .current_dir("/");
    if user == 0 {
        run.uid(user_without_rights).gid(user_without_rights);
    }
    let output = run.output().unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let record = fs::metadata(workspace.join("manifest-seal.json")).unwrap();
    assert_eq!(record.uid(), user_without_rights);
}
