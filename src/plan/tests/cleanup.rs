//! The limits of a cleanup of a tag, whatever the record contains.

use super::*;
use crate::record::{ImageRecord, Record, TagRecord, TagState, VouchedRecord};

const REPOSITORY: &str = "ghcr.io/o/r";

fn named(tag: &str) -> FullTag {
    let image: ImageReference = format!("{REPOSITORY}:{tag}").parse().unwrap();
    image.try_into().unwrap()
}

fn digest(seed: u8) -> Digest {
    Digest::of(&[seed])
}

/// Makes a record with one image for each of `entries`: before, after, state.
fn record(entries: &[(Option<u8>, u8, TagState)]) -> VouchedRecord {
    let image = |(before, after, state): &(Option<u8>, u8, TagState)| ImageRecord {
        image: REPOSITORY.to_owned(),
        digest: digest(*after),
        media_type: MediaType::OciIndex,
        observed: false,
        created: false,
        platforms: Vec::new(),
        attestations: Vec::new(),
        tags: vec![TagRecord {
            tag: "t".to_owned(),
            moving: true,
            before: before.map(digest),
            after: digest(*after),
            state: *state,
        }],
        signatures: Vec::new(),
    };
    VouchedRecord::of(Record {
        images: entries.iter().map(image).collect(),
        ..Record::default()
    })
}

fn states() -> impl Strategy<Value = TagState> {
    prop_oneof![
        Just(TagState::Planned),
        Just(TagState::Intended),
        Just(TagState::Written),
        Just(TagState::Kept)
    ]
}

fn kinds() -> impl Strategy<Value = TagKind> {
    prop_oneof![Just(TagKind::Fixed), Just(TagKind::Moving)]
}

fn entries() -> impl Strategy<Value = Vec<(Option<u8>, u8, TagState)>> {
    proptest::collection::vec((proptest::option::of(0..5_u8), 0..5_u8, states()), 0..5)
}

fn shown() -> impl Strategy<Value = TagDigest> {
    prop_oneof![
        Just(TagDigest::Absent),
        (0..6_u8).prop_map(|seed| TagDigest::Present(digest(seed))),
        Just(TagDigest::Unknown("down".to_owned())),
    ]
}

proptest! {
    #[test]
    fn only_what_a_run_wrote_and_still_is_there_is_taken_back(entries in entries(), kind in kinds(), shown in shown()) {
        let step = decide_cleanup(&record(&entries), &named("t"), kind, &shown);
        let wrote = |digest_: &Digest| entries.iter().any(|(_, after, state)| state.may_be_written() && digest(*after) == *digest_);
        match step {
            CleanupStep::Rollback(back) => {
                prop_assert_eq!(&shown, &TagDigest::Present(back.wrote().clone()));
                prop_assert!(wrote(back.wrote()));
                // The restored digest was there before, and no run wrote it.
                if let Some(before) = back.before() {
                    prop_assert!(entries.iter().any(|(was, ..)| was.map(digest).as_ref() == Some(before)));
                    prop_assert!(!wrote(before));
                    prop_assert_eq!(kind, TagKind::Moving);
                }
            }
            CleanupStep::Unknown(..) => prop_assert!(matches!(shown, TagDigest::Unknown(_))),
            CleanupStep::Leave(_) => (),
            CleanupStep::Manual { .. } => prop_assert!(false, "the record is trusted"),
        }
    }

    #[test]
    fn twice_is_the_same_as_once(entries in entries(), kind in kinds(), seed in 0..6_u8) {
        let record = record(&entries);
        let first = decide_cleanup(&record, &named("t"), kind, &TagDigest::Present(digest(seed)));
        if let CleanupStep::Rollback(back) = first {
            let now = back.before().cloned().map_or(TagDigest::Absent, TagDigest::Present);
            let second = decide_cleanup(&record, &named("t"), kind, &now);
            let is_done = matches!(second, CleanupStep::Leave(LeaveReason::Gone | LeaveReason::AlreadyRestored));
            prop_assert!(is_done, "{:?}", second);
        }
    }

    #[test]
    fn plan_is_the_step_of_a_tag_with_what_the_run_wrote(entries in entries(), kind in kinds(), shown in shown()) {
        let record = record(&entries);
        match plan_cleanup(&record, &named("t"), kind) {
            Some(CleanupStep::Rollback(back)) => {
                let current = TagDigest::Present(back.wrote().clone());
                prop_assert_eq!(decide_cleanup(&record, &named("t"), kind, &current), CleanupStep::Rollback(back));
            }
            // No content changes the decision.
            Some(step) => prop_assert_eq!(decide_cleanup(&record, &named("t"), kind, &shown), step),
            None => {
                let mut written = entries.iter().filter(|(.., state)| state.may_be_written());
                prop_assert!(written.next().is_some());
            }
        }
    }

    #[test]
    fn a_tag_that_the_record_does_not_name_is_never_touched(entries in entries(), kind in kinds(), shown in shown()) {
        let step = decide_cleanup(&record(&entries), &named("other"), kind, &shown);
        prop_assert_eq!(step, CleanupStep::Leave(LeaveReason::Unrecorded));
    }

    #[test]
    fn runs_one_after_the_other_go_back_to_before_the_first(count in 1..6_u8, existed in any::<bool>()) {
        let before = |run: u8| (run > 0 || existed).then_some(run);
        let entries: Vec<_> = (0..count).map(|run| (before(run), run + 1, TagState::Written)).collect();
        let step = decide_cleanup(&record(&entries), &named("t"), TagKind::Moving, &TagDigest::Present(digest(count)));
        let CleanupStep::Rollback(back) = step else {
            return Err(TestCaseError::fail(format!("{step:?}")));
        };
        let before = existed.then(|| digest(0));
        prop_assert_eq!((back.wrote(), back.before()), (&digest(count), before.as_ref()));
    }
}

#[test]
fn records_that_cannot_be_move_nothing() {
    let here = TagDigest::Present(digest(1));
    let tangled = CleanupStep::Leave(LeaveReason::Inconsistent);
    let written = TagState::Written;
    for (entries, kind) in [
        // A fixed tag is never overwritten.
        (vec![(Some(0), 1, written)], TagKind::Fixed),
        (vec![(Some(1), 1, written)], TagKind::Moving),
        (
            vec![(Some(2), 1, written), (Some(1), 2, written)],
            TagKind::Moving,
        ),
        (
            vec![(Some(2), 1, written), (None, 1, written)],
            TagKind::Moving,
        ),
    ] {
        let step = decide_cleanup(&record(&entries), &named("t"), kind, &here);
        assert_eq!(step, tangled, "{entries:?}");
    }
}

#[test]
fn what_only_the_record_names_is_told() {
    let record = record(&[(None, 1, TagState::Written), (None, 2, TagState::Kept)]);
    assert_eq!(unnamed_tags(&record, &[]), ["ghcr.io/o/r:t"]);
    assert!(unnamed_tags(&record, &[&named("t")]).is_empty());
}
