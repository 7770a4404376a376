//! The inputs as strings: their names, their meanings, and the given texts.

use std::collections::BTreeMap;

/// One input of the action, which is also a flag on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// The commands that read it; empty for all.
    pub commands: &'static [&'static str],
    /// Its meaning, in one sentence.
    pub meaning: &'static str,
    /// The value of an absent input, as in action.yml.
    pub default: &'static str,
}

/// The given strings. An empty string means "not given", because the runner sends it for absent inputs.
#[derive(Debug, Clone, Default)]
pub struct RawInputs(BTreeMap<&'static str, String>);

const MAKE: &[&str] = &["seal", "create"];
const LOOK: &[&str] = &["seal", "create", "preflight"];
const TAG: &[&str] = &["seal", "create", "publish", "cleanup"];
const NAME: &[&str] = &["seal", "create", "preflight", "publish", "cleanup"];
const KEEP: &[&str] = &["seal", "create", "sign", "publish", "cleanup"];
const SIGN: &[&str] = &["seal", "sign"];
const IDENTIFY: &[&str] = &["seal", "sign", "preflight"];
const VOUCH: &[&str] = &["seal", "sign", "verify", "preflight", "publish"];
const TRUST: &[&str] = &["seal", "sign", "verify", "publish"];

macro_rules! inputs {
    ($($name:literal $commands:expr, $default:literal: $meaning:literal;)*) => {
        /// Every input, in the order of the README's table.
        pub const INPUTS: &[Input] = &[$(Input { name: $name, commands: $commands, meaning: $meaning, default: $default }),*];
    };
}

inputs! {
    "command" &[], "seal": "What to do: `seal`, `create`, `sign`, `verify`, `preflight`, `publish` or `cleanup`.";
    "image" &[], "": "`registry/repository` of bare tags and digests; for `sign` and `verify` also with `:tag` or `@sha256:…`.";
    "tags" NAME, "": "List. Tags that must never change what they hold; bare, or full references in any number of registries, as docker/metadata-action prints them.";
    "moving-tags" TAG, "": "List. Tags that may move, such as `latest`; written last.";
    "source" &["publish"], "": "List of places to copy from, tried in this order: a reference with its tag or digest, a record, a folder in the OCI layout (`oci:FOLDER` or `oci:FOLDER:TAG`); further repositories may have what the first has lost. A digest that the first names is the only image that is published; after a source that cannot be read, only what an input names by digest is.";
    "referrers" &["publish"], "all": "`all`, or `verified`: leave behind whatever refers to the image and is not verified, with a warning each. Verified is a signature or attestation whose issuer and source repository are those of the identity that is given, by any workflow, and beside which nothing is stored.";
    "digests" LOOK, "": "List of `sha256:…` or `registry/repository@sha256:…`: what the index is made of. Bare ones are in `image`, else in the first repository that is named. `preflight` needs none; with them it tells `same` from `different`.";
    "digests-folder" MAKE, "": "A folder whose file names are the hex digests, as Docker's multi-platform example leaves them.";
    "platforms" MAKE, "": "List of platforms that must be there, no more and no less.";
    "annotations" LOOK, "": "List of `key=value` for the index; values may hold `=`, spaces and commas. `preflight` with `skip` passes over no index that states another `org.opencontainers.image.version` or `io.github.manifest-seal.name` than is given here, unless `digests` names it.";
    "media-type" MAKE, "auto": "`oci`, `docker`, or `auto`: Docker's list if every child is Docker's and there are no annotations.";
    "sign" &["seal", "preflight"], "true": "Whether to sign; for `preflight` with `skip`, whether what exists must be signed.";
    "recursive" TRUST, "false": "Sign and verify every child too.";
    "signature-format" SIGN, "bundle": "`bundle` (what cosign 3 writes), `legacy` (what cosign 2 writes: the tag `sha256-….sig`; needs a Rekor v1), or `both`.";
    "on-signing-failure" SIGN, "fail": "`fail`, or `warn`: publish unsigned with a warning while Sigstore or the registry is out of order, and where the job can have no token: a pull request from a fork, or Dependabot.";
    "certificate-identity" VOUCH, "": "Who must have signed, exactly. Default for `seal`, `sign` and `preflight`: this run's own identity; `verify` must be told; `publish` checks where it is given.";
    "certificate-identity-regexp" VOUCH, "": "The same as a regular expression, matched against the whole identity.";
    "certificate-oidc-issuer" VOUCH, "": "Who must vouch for the identity. Default: the own token's issuer; for `verify` GitHub's.";
    "certificate-oidc-issuer-regexp" VOUCH, "": "The same as a regular expression.";
    "certificate-github-workflow-repository" VOUCH, "": "The repository whose workflow must have signed, `owner/name`.";
    "certificate-github-workflow-ref" VOUCH, "": "The git ref that the workflow must have run on. Default for `seal` and `sign`, where the identity is this run's own: its own ref.";
    "certificate-github-workflow-sha" VOUCH, "": "The commit that the workflow must have run on.";
    "certificate-github-workflow-name" VOUCH, "": "The name of the workflow.";
    "certificate-github-workflow-trigger" VOUCH, "": "The event that must have started it.";
    "on-existing-tag" &["preflight"], "fail": "What it means that one of `tags` exists: `fail`, `skip` (`proceed=false`, and `source` says where it is, if this workflow has signed it or `digests` names it), or `warn`.";
    "record" &[], "manifest-seal.json": "Path of the record in the workspace: every digest, tag and signature, before and after.";
    "record-digest" KEEP, "": "SHA-256 of the record, as the step that wrote it gave it: the output `record-digest`. Not needed in the same job. Without it what a record says is not signed, published or taken back.";
    "registry-auths" &[], "": "YAML list of `{registry, username, password}`, used before `config.json` of Docker.";
    "github-token" &[], "${{ github.token }}": "For ghcr.io, or on GitHub Enterprise for the registry of that server, where no other credentials are given.";
    "insecure-registries" &[], "": "List of hosts that speak plain HTTP.";
    "ca-bundle" &[], "": "Extra CA certificates: PEM text, or a path in the workspace.";
    "signing-config" SIGN, "": "Which Fulcio, Rekor and timestamp authority to use: JSON, or a path. Default: the public-good instance.";
    "trusted-root" VOUCH, "": "What to trust: JSON, or a path. Default: the public-good instance, by TUF.";
    "identity-token" IDENTIFY, "": "OIDC token, outside GitHub Actions (the variable `SIGSTORE_ID_TOKEN` too).";
    "oidc-audience" IDENTIFY, "sigstore": "Whom the OIDC token is asked for; a Fulcio of your own may want another.";
    "tag-before-signing" &["seal"], "false": "Write the tags first, for registries that drop untagged manifests.";
    "max-attempts" &[], "5": "How many tries there are where the world needs time.";
    "retry-delay" &[], "10s": "The wait between two of them.";
    "retry-max-delay" &[], "60s": "No single wait is longer.";
    "timeout" &[], "15m": "The whole run ends by then.";
    "trace" &[], "false": "Print a line for each request: when it began, how long it took, what it was, its status.";
    "dry-run" &["seal", "create", "sign", "preflight", "publish", "cleanup"], "false": "Print the plan and change nothing.";
}

impl RawInputs {
    /// Reads each input's text from `lookup`.
    pub fn gather(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let given = |input: &Input| lookup(input.name).filter(|text| !text.trim().is_empty());
        Self(
            INPUTS
                .iter()
                .filter_map(|input| Some((input.name, given(input)?)))
                .collect(),
        )
    }

    /// Returns the text of an input, trimmed; `None` if it was not given.
    pub(super) fn get(&self, name: &'static str) -> Option<&str> {
        debug_assert!(
            INPUTS.iter().any(|input| input.name == name),
            "{name} is no input"
        );
        self.0.get(name).map(|text| text.trim())
    }
}
