//! Indexes that count as equal, however they are written, and the limits of that.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::*;

/// Writes the same document, indented by `indent`, with `more` spaces at its end.
fn printed(manifest: &Manifest, indent: &str, more: usize) -> Manifest {
    let document: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    let mut bytes = Vec::new();
    document
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .unwrap();
    bytes.resize(bytes.len() + more, b' ');
    Manifest::parse(bytes, manifest.media_type().clone()).unwrap()
}

fn is_same(children: &[Resolved], made: &Assembly, held: Manifest) -> bool {
    match decide_signed(made, children, &[fixed("v1", Some(held))]) {
        Ok(_) => true,
        Err(conflicts) => {
            assert!(matches!(conflicts[0].difference, Difference::Unvouched(_)));
            false
        }
    }
}

proptest! {
    #[test]
    fn pretty_printed_index_is_the_same_and_one_that_is_all_white_space_is_not(
        children in children(),
        annotations in proptest::collection::btree_map("[a-z.]{1,12}", ".{0,12}", 0..12),
        indent in "( {1,8}|\t)",
        more in 0..20_000_usize,
    ) {
        let made = assemble(&children, &wanted(&annotations)).unwrap();
        let pretty = printed(&made.manifest, &indent, 0);
        prop_assert!(is_same(&children, &made, pretty));
        let padded = printed(&made.manifest, &indent, more);
        let most = 4 * made.manifest.bytes().len() + 4096;
        let fits = padded.bytes().len() <= most;
        prop_assert_eq!(is_same(&children, &made, padded), fits);
    }

    #[test]
    fn media_type_counts_where_an_input_names_it(children in children(), kinds in any::<[bool; 2]>()) {
        // An OCI index and a Docker list can both contain Docker images.
        let children: Vec<Resolved> = children
            .into_iter()
            .map(|one| resolved(leaf(&one.leaves[0].stated.to_string(), 1, MediaType::DockerManifest), false))
            .collect();
        let annotations = BTreeMap::new();
        let made = |media_type| assemble(&children, &Wanted { media_type, ..wanted(&annotations) }).unwrap();
        let kind = |is_oci| if is_oci { IndexType::Oci } else { IndexType::Docker };
        let [mine, theirs] = kinds.map(kind).map(made);
        let held = Manifest::clone(&theirs.manifest);
        prop_assert_eq!(is_same(&children, &mine, held.clone()), kinds[0] == kinds[1]);
        prop_assert!(is_same(&children, &made(IndexType::Auto), held.clone()));
        // A signature still vouches for it. If nothing is signed, it stays.
        let seen = [fixed("v1", Some(held.clone()))];
        let verified = crate::sigstore::Verified::invented(held.digest(), "us");
        let signed = [Vouched::signed(held, &verified).unwrap()];
        prop_assert!(decide_tags(&mine, &children, &seen, KeepRule::Vouched(&signed), &BTreeMap::new()).is_ok());
        prop_assert!(decide_unsigned(&mine, &children, &seen).is_ok());
    }
}

/// An addition to an index that one reader ignores and another may interpret.
type Addition = (&'static str, fn(&str) -> String, bool);

#[test]
fn what_another_reader_may_read_counts() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        true,
    )];
    let annotations = BTreeMap::from([("by".to_owned(), "us".to_owned())]);
    let made = assemble(&children, &wanted(&annotations)).unwrap();
    let text = String::from_utf8(made.manifest.bytes().to_vec()).unwrap();
    let additions: [Addition; 9] = [
        ("as it is", str::to_owned, true),
        (
            "an artifact type of null",
            |text| text.replacen('{', r#"{"artifactType":null,"#, 1),
            true,
        ),
        (
            "urls of null",
            |text| text.replacen("[{", r#"[{"urls":null,"#, 1),
            true,
        ),
        (
            "features of null",
            |text| text.replacen(r#""os":"#, r#""features":null,"os":"#, 1),
            true,
        ),
        (
            "an unknown field of null",
            |text| text.replacen('{', r#"{"them":null,"#, 1),
            false,
        ),
        (
            "one in an entry",
            |text| text.replacen("[{", r#"[{"them":null,"#, 1),
            false,
        ),
        (
            "one in a platform",
            |text| text.replacen(r#""os":"#, r#""them":null,"os":"#, 1),
            false,
        ),
        (
            "two versions of the schema",
            |text| text.replacen('{', r#"{"schemaVersion":1,"#, 1),
            false,
        ),
        (
            "two annotations of one name",
            |text| text.replacen(r#""by":"#, r#""by":"them","by":"#, 1),
            false,
        ),
    ];
    for (name, add, same) in additions {
        let held = Manifest::parse(add(&text).into_bytes(), MediaType::OciIndex).unwrap();
        assert_eq!(is_same(&children, &made, held), same, "{name}");
    }
}
