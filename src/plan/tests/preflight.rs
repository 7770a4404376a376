//! The decisions before a build, for every state of the tags.

use super::*;
use crate::inputs::OnExistingTag;

const POLICIES: [OnExistingTag; 3] = [
    OnExistingTag::Fail,
    OnExistingTag::Skip,
    OnExistingTag::Warn,
];

/// A state of a tag, before anything is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagContentState {
    Absent,
    Ours,
    /// An index with the same images in other bytes.
    Rewritten,
    Theirs,
    Single,
    /// Content that is not a manifest.
    Unusable,
    New,
    Unknown,
}

use TagContentState::{Absent, New, Ours, Rewritten, Single, Theirs, Unknown, Unusable};

fn states() -> impl Strategy<Value = Vec<TagContentState>> {
    let state = proptest::sample::select(vec![
        Absent, Ours, Rewritten, Theirs, Single, Unusable, New, Unknown,
    ]);
    proptest::collection::vec(state, 1..6)
}

fn made(seed: u8) -> (Vec<Resolved>, Assembly) {
    let children: Vec<Resolved> = ["linux/amd64", "linux/arm64"]
        .iter()
        .map(|platform| resolved(leaf(platform, seed, MediaType::OciManifest), true))
        .collect();
    let assembly = assembled(&children);
    (children, assembly)
}

fn single_image() -> Manifest {
    let config = Descriptor::new(MediaType::Other("c".to_owned()), 2, Digest::of(b"{}"));
    let image = serde_json::to_vec(&serde_json::json!({"config": config, "layers": []})).unwrap();
    Manifest::parse(image, MediaType::OciManifest).unwrap()
}

/// Makes a tag for each state, in repositories in turn.
fn responses(states: &[TagContentState]) -> Vec<(FullTag, TagResponse)> {
    let (_, ours) = made(1);
    let (_, theirs) = made(2);
    let response = |state: &TagContentState| match state {
        Absent => TagResponse::Absent,
        Ours => TagResponse::Content(ours.manifest.clone().into_content().into()),
        Rewritten => TagResponse::Content(rewritten(&ours.manifest).into()),
        Theirs => TagResponse::Content(theirs.manifest.clone().into_content().into()),
        Single => TagResponse::Content(single_image().into()),
        Unusable => TagResponse::Content(unusable()),
        New => TagResponse::New("denied".to_owned()),
        Unknown => TagResponse::Unknown("500".to_owned()),
    };
    let host = |number: usize| ["ghcr.io", "quay.io"][number % 2];
    states
        .iter()
        .enumerate()
        .map(|(number, state)| {
            let tag = full(&format!("{}/o/r:v{number}", host(number)));
            (tag, response(state))
        })
        .collect()
}

fn verdict(states: &[TagContentState], policy: OnExistingTag) -> Verdict {
    decide_preflight(&find_tags(&responses(states), None), policy)
}

fn is_held(state: TagContentState) -> bool {
    !matches!(state, Absent | New | Unknown)
}

proptest! {
    #[test]
    fn what_is_not_known_stops_every_policy(states in states(), at in 0..6_usize) {
        let mut states = states;
        states.insert(at.min(states.len()), Unknown);
        for policy in POLICIES {
            prop_assert_eq!(verdict(&states, policy), Verdict::Unknown);
        }
    }

    #[test]
    fn a_build_goes_on_over_nothing_that_exists_unless_that_was_said(states in states()) {
        let held = states.iter().any(|state| is_held(*state));
        let is_known = !states.contains(&Unknown);
        for policy in [OnExistingTag::Fail, OnExistingTag::Skip] {
            prop_assert_eq!(verdict(&states, policy) == Verdict::Proceed, is_known && !held);
        }
        prop_assert_eq!(verdict(&states, OnExistingTag::Fail) == Verdict::Taken, is_known && held);
        prop_assert_eq!(verdict(&states, OnExistingTag::Warn) == Verdict::Proceed, is_known);
    }

    #[test]
    fn what_is_skipped_is_the_same_everywhere_and_the_first_in_order(states in states()) {
        let responses = responses(&states);
        let decided = decide_preflight(&find_tags(&responses, None), OnExistingTag::Skip);
        let held: Vec<TagContentState> = states.iter().copied().filter(|state| is_held(*state)).collect();
        let ours = held.iter().all(|state| matches!(state, Ours | Rewritten));
        let same = ours || held.iter().all(|state| *state == Theirs);
        let is_known = !states.contains(&Unknown);
        if let Verdict::Skip(tag, digest) = decided {
            prop_assert!(same && is_known && !held.is_empty());
            let first = responses.iter().find(|(_, response)| matches!(response, TagResponse::Content(_))).unwrap();
            let TagResponse::Content(manifest) = &first.1 else { panic!("it holds nothing") };
            prop_assert_eq!((&tag, &digest), (&first.0, manifest.digest()));
        } else {
            prop_assert_eq!(decided == Verdict::Differ, is_known && !held.is_empty() && !same);
        }
    }

    #[test]
    fn the_verdict_is_the_same_in_any_order(states in states(), turn in 0..6_usize) {
        let mut turned = states.clone();
        turned.rotate_left(turn % states.len());
        for policy in POLICIES {
            let kind = |states: &[TagContentState]| std::mem::discriminant(&verdict(states, policy));
            prop_assert_eq!(kind(&states), kind(&turned));
        }
    }

    #[test]
    fn digests_say_of_each_tag_alone_whether_it_is_the_same(states in states()) {
        let (children, ours) = made(1);
        let found = find_tags(&responses(&states), Some((&ours, &children)));
        for (found, state) in found.iter().zip(&states) {
            let word = match state {
                Absent => "absent",
                Ours | Rewritten => "same",
                Theirs | Single | Unusable => "different",
                New => "unknown-new",
                Unknown => "unknown",
            };
            prop_assert_eq!(found.state.word(), word);
            prop_assert_eq!(found.state.contents().is_some(), is_held(*state));
        }
    }

    #[test]
    fn what_preflight_skips_is_what_seal_completes(states in states()) {
        // Runs `decide_tags` as `seal` would with the source as its digest.
        let responses = responses(&states);
        let decided = decide_preflight(&find_tags(&responses, None), OnExistingTag::Skip);
        let skips = matches!(decided, Verdict::Skip(..));
        let first = states.iter().copied().find(|state| is_held(*state));
        let (children, wanted) = made(if first == Some(Theirs) { 2 } else { 1 });
        let seen: Vec<SeenTag> = responses
            .into_iter()
            .filter_map(|(tag, response)| match response {
                TagResponse::Content(manifest) => Some((tag, Some(manifest))),
                TagResponse::Absent | TagResponse::New(_) => Some((tag, None)),
                TagResponse::Unknown(_) => None,
            })
            .map(|(tag, existing)| SeenTag { tag, kind: TagKind::Fixed, existing })
            .collect();
        let steps = decide_unsigned(&wanted, &children, &seen);
        if let Verdict::Skip(_, digest) = &decided {
            prop_assert_eq!(steps.as_ref().unwrap().target.manifest().digest(), digest);
        }
        if decided == Verdict::Differ {
            prop_assert!(steps.is_err());
        }
        prop_assert!(!skips || steps.is_ok());
    }
}
