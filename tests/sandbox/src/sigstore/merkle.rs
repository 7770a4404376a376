//! RFC 6962 trees, computed anew each time: a sandbox's log is short.

use sha2::{Digest as _, Sha256};

/// A node of the tree.
pub(crate) type Hash = [u8; 32];

/// Returns the hash of an entry.
pub(crate) fn leaf(bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(bytes);
    hash.finalize().into()
}

/// Returns the root over these leaves.
pub(crate) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            let mut hash = Sha256::new();
            hash.update([1]);
            hash.update(root(left));
            hash.update(root(right));
            hash.finalize().into()
        }
    }
}

/// Returns the path that proves the leaf at `index`, from the leaf up.
pub(crate) fn path(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut path, sibling) = if index < middle {
        (path(left, index), root(right))
    } else {
        (path(right, index - middle), root(left))
    };
    path.push(sibling);
    path
}

/// Returns the largest power of two below `length`.
fn split(length: usize) -> usize {
    length.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::{Hash, leaf, path, root};

    #[test]
    fn roots_are_those_of_the_reference_vectors() {
        // The first leaves and roots of certificate-transparency's reference tree.
        let leaves: Vec<Hash> = [&b""[..], b"\x00", b"\x10", b"\x20\x21"].map(leaf).to_vec();
        let wanted = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        for (count, wanted) in (1..).zip(wanted) {
            assert_eq!(hex::encode(root(&leaves[..count])), wanted);
        }
    }

    #[test]
    fn paths_have_the_height_of_the_tree() {
        let leaves: Vec<Hash> = (0..7_u8).map(|n| leaf(&[n])).collect();
        let lengths: Vec<usize> = (0..7).map(|n| path(&leaves, n).len()).collect();
        assert_eq!(lengths, [3, 3, 3, 3, 3, 3, 2]);
    }
}
