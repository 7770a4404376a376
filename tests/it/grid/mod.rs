//! Every fault at every request of every command, on every kind of registry: the run gets over it, or says what it could not
//! do, and the next one ends where it would have ended.
//!
//! `cargo test` plays a sample. With `PROOF=FOLDER` all of it is played and the table is written to `FOLDER/grid.md`.

mod believed;
mod ill;
mod judge;
mod scene;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ill::{Cell, Ill};
use judge::Problem;
use scene::{Command, Kind, Scene};
use table::Tally;

/// Cells are mostly waiting, for settled lists and for timeouts.
const THREADS: usize = 6;
/// Into how many parts the cells of one command on one kind of registry are shared out.
const PARTS: usize = 4;

/// What became of a cell.
struct Played {
    command: Command,
    kind: Kind,
    cell: Cell,
    /// What was asked when the fault came; none if the run had ended before.
    hit: String,
    /// Whether the run that it was played on got over it.
    is_over: bool,
    code: i32,
    error: Option<String>,
    /// What does not hold, but for what cannot be helped.
    problems: Vec<Problem>,
    /// Why something could not be helped.
    reasons: Vec<&'static str>,
}

/// Some of the cells of one command on one kind of registry.
#[derive(Clone, Copy)]
enum Share {
    /// One for each fault.
    Sample(usize),
    /// Each `PARTS`th.
    Part(usize),
}

fn cells(scene: &Scene) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (server, requests) in &scene.requests {
        for k in 1..=*requests {
            for ill in Ill::ALL {
                for span in ill.spans() {
                    cells.push(Cell {
                        server: *server,
                        k,
                        ill,
                        span: *span,
                    });
                }
            }
        }
    }
    cells
}

impl Share {
    fn of(self, cells: Vec<Cell>) -> Vec<Cell> {
        match self {
            Self::Part(part) => cells.into_iter().skip(part).step_by(PARTS).collect(),
            // A stride that shares no factor with most counts comes by all places and both spans in turn.
            Self::Sample(number) => Ill::ALL
                .iter()
                .enumerate()
                .map(|(position, ill)| {
                    let of_ill: Vec<&Cell> = cells.iter().filter(|cell| cell.ill == *ill).collect();
                    *of_ill[(number * 7 + position) * 31 % of_ill.len()]
                })
                .collect(),
        }
    }
}

fn play(scene: &Scene, cell: Cell) -> Played {
    scene.begin_again();
    let action = scene.run();
    let outcome = cell.play(scene, &action);
    let hit = scene.hit(cell.server).unwrap_or_default();
    scene.clear_faults();
    let mut problems = judge::ending(cell, &outcome);
    let is_over = judge::is_over(scene, &outcome);
    problems.extend(judge::registry(scene, is_over));
    // What a machine that is gone knew is not always at hand.
    let is_elsewhere = scene.command != Command::Cleanup && cell.k % 2 == 0;
    let rerun = if is_elsewhere {
        action.elsewhere()
    } else {
        action
    };
    problems.extend(judge::again(scene, &rerun));
    let mut played = Played {
        command: scene.command,
        kind: scene.kind,
        cell,
        hit,
        is_over,
        code: outcome.code,
        error: judge::said(&outcome),
        problems,
        reasons: Vec::new(),
    };
    believed::excuse(&mut played);
    played
}

/// Plays these shares of the grid, several at once.
fn play_all(shares: &[(Command, Kind, Share)]) -> Tally {
    let began = Instant::now();
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let work = || {
        while let Some((command, kind, share)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            if std::env::var("ONLY")
                .is_ok_and(|only| !format!("{command:?} {kind:?}").contains(&only))
            {
                continue;
            }
            let scene = Scene::new(*command, *kind);
            let cells = share.of(cells(&scene));
            tally
                .lock()
                .unwrap()
                .requests
                .insert((*command, *kind), scene.requests.clone());
            for cell in &cells {
                let played = catch_unwind(AssertUnwindSafe(|| play(&scene, *cell)));
                let played = played.unwrap_or_else(|_| panic!("{command:?} {kind:?} {cell:?}"));
                tally.lock().unwrap().add(played);
            }
            let tally = tally.lock().unwrap();
            eprintln!(
                "{:>4} s: {} cells, {}",
                began.elapsed().as_secs(),
                tally.cells(),
                command.name()
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

fn shares(of: impl Fn(usize) -> Vec<Share>) -> Vec<(Command, Kind, Share)> {
    let scenes = Command::ALL
        .into_iter()
        .flat_map(|command| Kind::ALL.map(|kind| (command, kind)));
    let scenes = scenes.enumerate();
    scenes
        .flat_map(|(number, (command, kind))| {
            of(number)
                .into_iter()
                .map(move |share| (command, kind, share))
        })
        .collect()
}

#[test]
fn whatever_goes_wrong_the_next_run_ends_where_it_would_have_ended() {
    let tally = match std::env::var_os("PROOF") {
        None => play_all(&shares(|number| vec![Share::Sample(number)])),
        Some(folder) => {
            let tally = play_all(&shares(|_| (0..PARTS).map(Share::Part).collect()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(std::path::Path::new(&folder).join("grid.md"), tally.table()).unwrap();
            tally
        }
    };
    eprintln!("{}", tally.table());
    assert!(tally.broken.is_empty(), "{}", tally.told());
}
