//! The layers of signatures in cosign's older format.

use crate::domain::Descriptor;

/// The media type of a signature layer. The manifest may have other layers too.
pub(super) const LAYER_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Reports whether a layer is a signature.
pub(crate) fn is_signature(layer: &Descriptor) -> bool {
    layer.media_type.as_str() == LAYER_TYPE
}
