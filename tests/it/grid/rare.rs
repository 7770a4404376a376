//! The faults of HTTP/2 at requests that no command of the grid sends: chunks of a blob, cancellation of an upload, a mount,
//! storage behind a redirect, a list of tags. Each cell is one fault at one of these requests. With a fault at one request the
//! run succeeds. With a fault at all of them the next run succeeds.

use sandbox::{Deletes, Fault, Options, Proof, Referrers, Registry, Service, Transport};

use serde_json::json;

use super::faults::{GridFault, Span};
use crate::support::hosted::Hosted;
use crate::support::{Action, Outcome, Passage, REPOSITORY, World, cleanup};

const MIB: usize = 1 << 20;
const TARGET: &str = "prod/app";

/// A request: its method, the pattern of its path, and the place that a run sends it to.
type Rare = (&'static str, &'static str, fn() -> Place);

const REQUESTS: [Rare; 6] = [
    ("PATCH", "*/blobs/uploads/*", Place::parts),
    ("DELETE", "*/blobs/uploads/*", Place::parts),
    ("POST", "*/blobs/uploads/?mount=*", Place::mount),
    ("GET", "*?*X-Amz-Signature*", Place::storage),
    ("GET", "*/tags/list*", Place::deletion),
    ("DELETE", "*/manifests/*", Place::deletion),
];

/// A command that sends such a request, and its registry.
enum Place {
    Parts(Passage),
    Mount(World, Action),
    Storage(Hosted),
    Deletion(World, Action),
}

fn options() -> Options {
    Options::new().transport(Transport::HTTP2)
}

impl Place {
    fn parts() -> Self {
        let target = options().upload_max(4 * MIB);
        Self::Parts(Passage::between(options(), target, 5 * MIB))
    }

    fn mount() -> Self {
        let world = World::with(options());
        let sealed = world.seal().succeed();
        let publish = world.verify("v1").input("image", "");
        let publish = publish
            .input("command", "publish")
            .input("source", world.at(sealed.output("digest")))
            .input(
                "tags",
                format!("{}:v1", world.registry().repository(TARGET)),
            );
        Self::Mount(world, publish)
    }

    fn storage() -> Self {
        Self::Storage(Hosted::with(Service::DockerHub, options()))
    }

    fn deletion() -> Self {
        let registry = options().referrers(Referrers::TagSchema);
        let world = World::with(registry.deletes(Deletes::Digests));
        let seal = world.seal();
        seal.succeed();
        Self::Deletion(world, cleanup(&seal))
    }

    fn registry(&self) -> &Registry {
        match self {
            Self::Parts(passage) => &passage.target,
            Self::Mount(world, _) | Self::Deletion(world, _) => world.registry(),
            Self::Storage(hub) => hub.registry(),
        }
    }

    fn action(&self) -> Action {
        let action = match self {
            Self::Parts(passage) => passage.publish(),
            Self::Mount(_, action) | Self::Deletion(_, action) => action.clone(),
            Self::Storage(hub) => hub.logged_in(hub.world.seal()),
        };
        action.input("retry-max-delay", "20ms")
    }

    /// Reports whether a run did all its work.
    fn is_done(&self, outcome: &Outcome) -> bool {
        let there = |repository| self.registry().tags(repository).remove("v1");
        outcome.code == 0
            && match self {
                Self::Parts(passage) => passage.is_there(),
                Self::Mount(..) => there(TARGET).is_some_and(|it| there(REPOSITORY) == Some(it)),
                Self::Storage(_) => there(REPOSITORY).is_some(),
                Self::Deletion(..) => {
                    outcome.json("remaining") == json!([]) && there(REPOSITORY).is_none()
                }
            }
    }

    fn hits(&self) -> usize {
        let requests = self.registry().requests();
        requests.iter().filter(|request| request.faulty).count()
    }
}

/// Plays one cell, and returns its problem.
fn play((method, path, place): Rare, fault: GridFault, span: Span) -> Option<String> {
    let place = place();
    let trigger = Fault::on(method, path);
    let times = if span == Span::Once { 1 } else { u32::MAX };
    place.registry().clear_requests();
    place.registry().fault(fault.fault(trigger.times(times)));
    let action = place.action();
    let first = match span {
        Span::Once => action.run(),
        Span::Stays => action.clone().input("max-attempts", "1").run(),
    };
    let ended = match span {
        _ if place.hits() == 0 => Err("never asked"),
        Span::Once if !place.is_done(&first) => Err("not got over"),
        Span::Stays if !matches!(first.code, 0 | 1) => Err("no error of ours"),
        Span::Once | Span::Stays => Ok(()),
    };
    place.registry().clear_faults();
    let again = action.run();
    // An upload that could not be cancelled is left for the registry to end.
    let is_left = method != "DELETE" && place.registry().open_uploads() > 0;
    let problem = match ended {
        Err(problem) => Some((problem, first)),
        Ok(()) if !place.is_done(&again) => Some(("not converged", again)),
        Ok(()) => is_left.then_some(("an upload is left open", again)),
    };
    problem.map(|(problem, outcome)| {
        let (fault, span, code, log) = (fault.name(), span.name(), outcome.code, outcome.log);
        format!("{method} {path}: {fault}, {span}: {problem}: exit code {code}\n{log}")
    })
}

#[test]
fn rare_requests_survive_faults_of_http2() {
    let mut cells = Vec::new();
    for (row, request) in REQUESTS.into_iter().enumerate() {
        for (column, fault) in GridFault::OF_HTTP2.into_iter().enumerate() {
            for (layer, span) in [Span::Once, Span::Stays].into_iter().enumerate() {
                // A sample plays each fault at least twice, with both durations. Each request gets a share of the faults.
                if Proof::is_wanted() || (row + column + layer * 3) % REQUESTS.len() == 0 {
                    cells.push((request, fault, span));
                }
            }
        }
    }
    let broken: Vec<String> = std::thread::scope(|scope| {
        let shares = cells.chunks(cells.len().div_ceil(4));
        let play_all = |share: &[_]| -> Vec<String> {
            let cells = share.iter();
            cells
                .filter_map(|(request, fault, span)| play(*request, *fault, *span))
                .collect()
        };
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(move || play_all(share)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        broken.is_empty(),
        "{} of {}\n{}",
        broken.len(),
        cells.len(),
        broken.join("\n\n")
    );
}
