//! Every fault at every request of every command, on every kind of registry. The run succeeds, or reports the work that failed,
//! and the next run reaches the intended result. `cargo test` plays a sample, and
//! kills at each write of a manifest. With `PROOF=FOLDER` all cells are played, or
//! `PROOF_PARTS` of the four parts. The table is then written to `FOLDER/grid.md`. `MANIFEST_SEAL_PROGRAM=PROGRAM` plays the
//! grid on that program, such as the shipped one, which is several times as fast.

mod axes;
mod checks;
mod excuses;
mod faults;
mod golden;
mod kinds;
mod rare;
mod setup;
mod table;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fmt, fs};

use axes::{Command, Server};
use checks::Problem;
use faults::{Cell, GridFault, Span};
use kinds::Kind;
use setup::Setup;
use table::Tally;

/// The number of threads: most of the time cells wait for lists to settle, and for timeouts.
const THREADS: usize = 14;
/// The number of parts that the cells of one command on one kind of registry are divided into.
const PARTS: usize = 4;

/// The result of a cell.
struct Played {
    command: Command,
    kind: Kind,
    cell: Cell,
    /// The request that the fault hit; empty if the run ended before.
    hit: String,
    /// True if the run with the fault finished its work.
    is_over: bool,
    /// The conditions that are not met, without the excused ones.
    problems: Vec<Problem>,
    /// The reasons of the excused problems.
    excuses: Vec<&'static str>,
}

impl fmt::Display for Played {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell {
            server,
            k,
            fault,
            span,
        } = self.cell;
        let (command, kind) = (self.command.name(), self.kind.name());
        let (fault, lasts) = (fault.name(), span.name());
        write!(
            to,
            "{command}, {kind}: {fault}, {lasts}, at request {k} to {} ({})",
            server.name(),
            self.hit
        )?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(to, "\n{problem}"))
    }
}

/// A selection of the cells of one command on one kind of registry.
#[derive(Clone, Copy)]
enum Share {
    /// One cell for each fault that is likely to do harm.
    Sample(usize),
    /// Every `PARTS`th cell.
    Part(usize),
    /// A kill at each write of a manifest.
    Kills,
    /// A few faults at the requests that only this kind of registry gets.
    Particular,
}

/// The commands whose sample plays faults on registries that require tokens, or use HTTP/2. They send each kind of request that
/// the others send. A long proof plays all commands.
const ADMITTED: [Command; 7] = [
    Command::SealBoth,
    Command::SealRekor2,
    Command::SealAgain,
    Command::SealElsewhere,
    Command::Verify,
    Command::Publish,
    Command::Cleanup,
];

/// The commands that a sample kills at each write of a manifest, and the registries that it does so on.
const KILLED: [Command; 2] = [Command::SealRecursive, Command::Publish];
const KILLED_ON: [Kind; 2] = [Kind::Api, Kind::FallbackTag];

/// The command of a sample on each kind of registry with features of 2026.
const PARTICULAR: [(Command, Kind); 11] = [
    (Command::SealBundle, Kind::TagsTogether),
    (Command::Publish, Kind::TagsNamed),
    (Command::SealBoth, Kind::TagsUnnamed),
    (Command::SealBundle, Kind::TagsFirst),
    (Command::SealBoth, Kind::Conditions),
    (Command::Publish, Kind::ConditionsAsInvalid),
    (Command::Cleanup, Kind::ConditionsBroken),
    (Command::SealBundle, Kind::Redirected),
    (Command::SealBundle, Kind::Unchecked),
    (Command::SealRecursive, Kind::DeadEntry),
    (Command::Publish, Kind::LateList),
];
/// The faults of that sample.
const PARTICULAR_FAULTS: [GridFault; 3] = [
    GridFault::Kill,
    GridFault::LostResponse,
    GridFault::Unavailable,
];

/// Returns the cells that kill the command at a write of a manifest. Between two writes neither the registry nor the record
/// changes. Blobs are written before the first manifest and are not in the record.
fn kills(setup: &Setup) -> Vec<Cell> {
    let cell = |k: &u64| Cell {
        server: Server::Registry,
        k: *k,
        fault: GridFault::Kill,
        span: Span::Once,
    };
    setup.manifest_writes.iter().map(cell).collect()
}

/// Returns a cell for each of a few faults. Each fault hits another request, if there are several.
fn particular(setup: &Setup) -> Vec<Cell> {
    let requests = &setup.particular_requests;
    let faults = PARTICULAR_FAULTS.into_iter().enumerate();
    let cell = |(position, fault): (usize, GridFault)| Cell {
        server: Server::Registry,
        k: requests[position % requests.len()],
        fault,
        span: fault.spans()[position % fault.spans().len()],
    };
    faults.map(cell).collect()
}

fn cells(setup: &Setup) -> Vec<Cell> {
    let mut cells = Vec::new();
    let played = setup.requests.iter();
    for (server, requests) in played.filter(|(server, _)| setup.command.is_played_at(**server)) {
        for k in 1..=*requests {
            for fault in GridFault::all(setup.kind) {
                for span in fault.spans() {
                    cells.push(Cell {
                        server: *server,
                        k,
                        fault,
                        span: *span,
                    });
                }
            }
        }
    }
    cells
}

impl Share {
    fn of(self, setup: &Setup) -> Vec<Cell> {
        let (command, kind) = (setup.command, setup.kind);
        let (number, cells) = match self {
            Self::Part(part) => {
                return cells(setup).into_iter().skip(part).step_by(PARTS).collect();
            }
            Self::Kills => return kills(setup),
            Self::Particular => return particular(setup),
            Self::Sample(number) => (number, cells(setup)),
        };
        // A rerun fails as the other commands do. It is played only for the denials that a list exists.
        let is_rerun = matches!(command, Command::SealAgain | Command::SealElsewhere);
        // Faults that HTTP/1.1 also has are played on the other kinds of registry.
        let faults: &[GridFault] = if kind == Kind::Http2 && !is_rerun {
            &GridFault::OF_HTTP2
        } else {
            &GridFault::ALL
        };
        let faults = faults.iter().enumerate();
        faults
            .filter(|(_, fault)| !is_rerun || excuses::DENIALS.contains(fault))
            .map(|(position, fault)| {
                let of_fault: Vec<&Cell> =
                    cells.iter().filter(|cell| cell.fault == *fault).collect();
                // The stride is odd and divides no count, so samples cover all requests, and both durations in turn.
                *of_fault[(number * 7 + position) * 31 % of_fault.len()]
            })
            .collect()
    }
}

fn play(setup: &Setup, cell: Cell) -> Played {
    setup.begin_again();
    let action = setup.run();
    let outcome = cell.play(setup, &action);
    let hit = setup.hit(cell.server).unwrap_or_default();
    setup.clear_faults();
    let mut problems = checks::ending(cell, &outcome);
    let is_over = checks::is_over(setup, &outcome);
    problems.extend(checks::registry(setup, is_over));
    // A run that received a false denial writes it into its record.
    let is_false_denial = excuses::DENIALS.contains(&cell.fault);
    if !is_over && !is_false_denial && setup.can_be_cleaned_up() {
        problems.extend(checks::cleaned_up(setup, &action));
    }
    // The record is not always available after a run: its machine may be gone.
    let needs_record = matches!(setup.command, Command::Cleanup | Command::SealAgain);
    let is_elsewhere = !needs_record && cell.k.is_multiple_of(2);
    let rerun = if is_elsewhere {
        action.elsewhere()
    } else {
        action
    };
    problems.extend(checks::again(setup, &rerun));
    let mut played = Played {
        command: setup.command,
        kind: setup.kind,
        cell,
        hit,
        is_over,
        problems,
        excuses: Vec::new(),
    };
    excuses::excuse(&mut played);
    played
}

/// Plays these shares of the grid concurrently.
fn play_all(shares: &[(Command, Kind, Share)]) -> Tally {
    let began = Instant::now();
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = || {
        while let Some((command, kind, share)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            let setup = Setup::new(*command, *kind);
            let requests = setup.requests.clone();
            tally
                .lock()
                .unwrap()
                .requests
                .insert((*command, *kind), requests);
            for cell in share.of(&setup) {
                let played = play(&setup, cell);
                if !played.problems.is_empty() {
                    eprintln!("{played}");
                }
                tally.lock().unwrap().add(&played);
            }
            let (time, tally) = (began.elapsed().as_secs(), tally.lock().unwrap());
            let (all, broken) = (tally.cells(), tally.broken());
            eprintln!(
                "{time} s: {all} cells, {broken} not converged; {}, {}",
                command.name(),
                kind.name()
            );
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let mut tally = tally.into_inner().unwrap();
    tally.took = began.elapsed();
    tally
}

/// Returns one share of each command on each kind of registry. `PROOF_ONLY` selects some: `seal, both, bearer`.
fn shares(of: impl Fn(usize) -> Share) -> Vec<(Command, Kind, Share)> {
    let only = std::env::var("PROOF_ONLY").unwrap_or_default();
    let mut setups: Vec<(Command, Kind)> = Command::ALL
        .into_iter()
        .flat_map(|command| command.kinds().into_iter().map(move |kind| (command, kind)))
        .collect();
    // The samples of the basic kinds do not depend on the others.
    setups.sort_by_key(|(_, kind)| !Kind::BASIC.contains(kind));
    let setups = setups.into_iter().enumerate();
    let setups = setups.filter(|(_, (command, kind))| {
        format!("{}, {}", command.name(), kind.name()).contains(&only)
    });
    setups
        .map(|(number, (command, kind))| (command, kind, of(number)))
        .collect()
}

#[test]
fn rerun_after_any_fault_reaches_the_intended_result() {
    let tally = if let Some(folder) = std::env::var_os("PROOF") {
        let parts = std::env::var("PROOF_PARTS").map_or(PARTS, |parts| parts.parse().unwrap());
        let all = (0..parts).flat_map(|part| shares(|_| Share::Part(part)));
        let mut tally = play_all(&all.collect::<Vec<_>>());
        tally.parts = parts;
        fs::create_dir_all(&folder).unwrap();
        fs::write(Path::new(&folder).join("grid.md"), tally.text()).unwrap();
        tally
    } else {
        let kills = KILLED.into_iter().flat_map(|command| {
            KILLED_ON
                .into_iter()
                .map(move |kind| (command, kind, Share::Kills))
        });
        // The longest shares start first.
        let samples = shares(Share::Sample)
            .into_iter()
            .filter(|(command, kind, _)| {
                matches!(kind, Kind::Api | Kind::FallbackTag)
                    || (Kind::BASIC.contains(kind) && ADMITTED.contains(command))
            });
        let particular = PARTICULAR.into_iter();
        let particular = particular.map(|(command, kind)| (command, kind, Share::Particular));
        let all = kills.chain(particular).chain(samples);
        play_all(&all.collect::<Vec<_>>())
    };
    eprintln!("{}", tally.text());
    assert!(
        tally.broken() == 0,
        "{} cells did not converge\n{}",
        tally.broken(),
        tally.told()
    );
}
