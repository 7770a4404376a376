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
    "tags" NAME, "": "List. Tags that must never move; bare, or full references in any number of registries, as docker/metadata-action prints them.";
    "moving-tags" TAG, "": "List. Tags that may move, such as `latest`; written last.";
    "source" &["publish"], "": "List of sources to copy from, tried in this order: a reference with its tag or digest, a record, a folder in the OCI layout (`oci:FOLDER` or `oci:FOLDER:TAG`). Other repositories supply parts that the first lacks. A digest that the first names is the only image that is published. If a source cannot be read, only digests named in the inputs are published.";
    "referrers" &["publish"], "all": "`all`, or `verified`: copy only verified referrers and warn about each other one. A referrer is verified if it is a signature or attestation, its issuer and source repository are those of the given identity (any workflow counts), and its manifest contains nothing else.";
    "digests" LOOK, "": "List of `sha256:…` or `registry/repository@sha256:…`, or the same with `sha512:…`: the parts of the index. Bare ones are in `image`, else in the first repository that is named. `registry/repository:tag` is resolved once, with a warning that names the digest, because a tag can move. `preflight` needs none; with them it distinguishes `same` from `different`.";
    "digests-folder" MAKE, "": "A folder whose file names are the hex digests (64 digits of SHA-256, 128 of SHA-512; `sha256:` or `sha256-` may precede them), as Docker's multi-platform example leaves them.";
    "platforms" MAKE, "": "List of the platforms that the index must have, no more and no less.";
    "annotations" LOOK, "": "List of `key=value` for the index; values may contain `=`, spaces and commas. `preflight` with `skip` does not skip an index whose version or name (`org.opencontainers.image.version`, `io.github.manifest-seal.name`) differs, unless `digests` names it.";
    "media-type" MAKE, "auto": "`oci`, `docker`, or `auto`: Docker's list if every child is Docker's and there are no annotations.";
    "sign" &["seal", "preflight"], "true": "Whether to sign; for `preflight` with `skip`, whether what exists must be signed.";
    "recursive" TRUST, "false": "Sign and verify every child too.";
    "signature-format" SIGN, "bundle": "`bundle` (what cosign 3 writes), `legacy` (what cosign 2 writes: the tag `sha256-….sig`; needs a Rekor v1), or `both`.";
    "on-signing-failure" SIGN, "fail": "`fail`, or `warn`: publish unsigned with a warning during an outage of Sigstore or the registry, or if the job cannot get an OIDC token: a pull request from a fork, or Dependabot.";
    "certificate-identity" VOUCH, "": "The required signer, exactly. Default for `seal`, `sign` and `preflight`: this run's own identity; required for `verify`; `publish` checks it if it is given.";
    "certificate-identity-regexp" VOUCH, "": "The same as a regular expression, matched against the whole identity.";
    "certificate-oidc-issuer" VOUCH, "": "The required OIDC issuer. Default: the issuer of this run's token; for `verify` GitHub's.";
    "certificate-oidc-issuer-regexp" VOUCH, "": "The same as a regular expression.";
    "certificate-github-workflow-repository" VOUCH, "": "The repository whose workflow must have signed, `owner/name`.";
    "certificate-github-workflow-ref" VOUCH, "": "The git ref that the workflow must have run on. Default for `seal` and `sign` with this run's own identity: its own ref.";
    "certificate-github-workflow-sha" VOUCH, "": "The commit that the workflow must have run on.";
    "certificate-github-workflow-name" VOUCH, "": "The name of the workflow.";
    "certificate-github-workflow-trigger" VOUCH, "": "The event that must have started it.";
    "on-existing-tag" &["preflight"], "fail": "What to do if one of `tags` exists: `fail`, `skip` (`proceed=false`, and `source` names the published image, if this workflow signed it or `digests` names it), or `warn`.";
    "record" &[], "manifest-seal.json": "Path of the record in the workspace: every digest, tag and signature, before and after.";
    "record-digest" KEEP, "": "SHA-256 of the record: the output `record-digest` of the step that wrote it. Not needed in the same job. Without it, the images of the record are not signed or published, and its tags are not reverted.";
    "registry-auths" &[], "": "YAML list of `{registry, username, password}`, used before `config.json` of Docker.";
    "github-token" &[], "${{ github.token }}": "For ghcr.io, or on GitHub Enterprise for the registry of that server, if no other credentials are given.";
    "insecure-registries" &[], "": "List of hosts that speak plain HTTP.";
    "ca-bundle" &[], "": "Extra CA certificates: PEM text, or a path in the workspace.";
    "signing-config" SIGN, "": "Which Fulcio, Rekor and timestamp authority to use: JSON, or a path. Default: the public-good instance.";
    "trusted-root" VOUCH, "": "The Sigstore trusted root: JSON, or a path. Default: the public-good instance, by TUF.";
    "identity-token" IDENTIFY, "": "OIDC token, outside GitHub Actions (the variable `SIGSTORE_ID_TOKEN` too).";
    "oidc-audience" IDENTIFY, "sigstore": "The audience of the OIDC token. A private Fulcio may require another.";
    "tag-before-signing" &["seal"], "false": "Write the tags first, for registries that drop untagged manifests.";
    "max-attempts" &[], "5": "The maximum number of attempts when content or a signature is not visible yet.";
    "retry-delay" &[], "10s": "The wait between two attempts.";
    "retry-max-delay" &[], "60s": "The longest single wait.";
    "propagation" &["seal", "sign", "publish"], "3s": "How long an absent list of signatures is read again before a new one is written. Some registries without the referrers API (GHCR) show a list that another tool wrote only after seconds; with `0s` its entries may be lost. It does not apply to an image that this run pushes.";
    "timeout" &[], "15m": "The time limit of the whole run.";
    "trace" &[], "false": "Print a line for each request: its start, duration, address and status.";
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
