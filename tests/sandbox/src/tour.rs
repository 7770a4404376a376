//! Five runs of the real binary against a registry and a Sigstore, with the expected results.

use crate::job::{Job, Step, build};
use crate::terminal::Terminal;
use sandbox::{Image, Kind, Options, Request, Sandbox, Transport, Version, certificate_authority};

const REPOSITORY: &str = "octo-org/octo-app";
const TAG: &str = "1.0.0";
const STRANGER: &str =
    "https://github.com/stranger/fork/.github/workflows/release.yml@refs/heads/main";

struct Tour<'a> {
    terminal: &'a mut Terminal,
    sandbox: Sandbox,
    job: Job,
    held: bool,
}

/// Runs the tour. Returns true if all expectations were met.
pub(crate) fn run(terminal: &mut Terminal) -> anyhow::Result<bool> {
    terminal.line("Building manifest-seal; the first time takes a few minutes.")?;
    let binary = build()?;
    let sandbox = Sandbox::with(Options::new().transport(Transport::HTTP2));
    let job = Job::new(binary, &sandbox.sigstore);
    let mut tour = Tour {
        terminal,
        sandbox,
        job,
        held: true,
    };
    tour.walk()?;
    Ok(tour.held)
}

impl Tour<'_> {
    fn walk(&mut self) -> anyhow::Result<()> {
        let registry = &self.sandbox.registry;
        let images = ["linux/amd64", "linux/arm64"]
            .map(|platform| registry.push_image(REPOSITORY, platform, Kind::Oci));
        self.terminal
            .heading("Two builds have pushed their images to a registry on this machine")?;
        let (address, url) = (self.sandbox.registry.address(), self.sandbox.sigstore.url());
        self.terminal.field("registry", &address)?;
        self.terminal.field("Sigstore", &url)?;
        let transport = self.sandbox.registry.transport();
        self.terminal.field("transport", &transport.to_string())?;
        for image in &images {
            self.terminal.field(&image.platform, &image.digest)?;
        }

        let sealed = self.seal(&images)?;
        let digest = sealed.output("digest").to_owned();
        self.rerun(&images, &digest)?;
        self.conflict(&images[0], &digest)?;
        self.verify(&digest)?;
        self.wrong_identity()?;

        self.terminal
            .heading("The job summary of the first run, in Markdown")?;
        self.terminal.line("")?;
        self.terminal.line(sealed.summary.trim_end())?;
        let words = if self.held {
            "Everything was as expected."
        } else {
            "Not everything was as expected: see the crosses above."
        };
        self.terminal.heading(words)?;
        Ok(())
    }

    fn seal(&mut self, images: &[Image]) -> anyhow::Result<Step> {
        self.terminal
            .heading("1. Seal: one index of both, signed, then tagged")?;
        let step = self.run_seal(images)?;
        self.show(&step, &["result", "digest", "signed"])?;
        let digest = step.output("digest").to_owned();
        let tags = self.sandbox.registry.tags(REPOSITORY);
        let tagged = !digest.is_empty() && tags.get(TAG) == Some(&digest);
        let entries = self.sandbox.sigstore.entries();
        self.expect("it ends with exit code 0", step.code == Some(0))?;
        self.expect("a new index was made", step.output("result") == "created")?;
        self.expect(&format!("the tag {TAG} points to it"), tagged)?;
        self.expect(
            "it was signed, once",
            step.output("signed") == "true" && entries == 1,
        )?;
        let is_http2 = self.came_by_http2();
        self.expect("every request came by HTTP/2", is_http2)?;
        let in_order = self.signed_before_tagged();
        self.expect("the signature existed before the tag", in_order)?;
        self.log_unless_held(&step)?;
        Ok(step)
    }

    fn rerun(&mut self, images: &[Image], digest: &str) -> anyhow::Result<()> {
        self.terminal
            .heading("2. The same again: nothing to do, and nothing changes")?;
        self.sandbox.registry.clear_requests();
        let reversed: Vec<Image> = images.iter().rev().cloned().collect();
        let step = self.run_seal(&reversed)?;
        self.show(&step, &["result", "digest", "sign-skipped"])?;
        let requests = self.sandbox.registry.requests();
        let only_read = requests
            .iter()
            .all(|r| r.method == "GET" || r.method == "HEAD");
        let entries = self.sandbox.sigstore.entries();
        self.expect("it ends with exit code 0", step.code == Some(0))?;
        self.expect("the digest is the same", step.output("digest") == digest)?;
        let skipped = step.output("manifest-create-skipped") == "true" && only_read;
        self.expect("the registry was only read", skipped)?;
        let skipped = step.output("sign-skipped") == "true" && entries == 1;
        self.expect("there is no second signature", skipped)?;
        self.log_unless_held(&step)
    }

    fn conflict(&mut self, first: &Image, digest: &str) -> anyhow::Result<()> {
        self.terminal
            .heading("3. Another build for the same tag: refused, the tag does not move")?;
        let registry = &self.sandbox.registry;
        let other = registry.push_image_seeded(REPOSITORY, "linux/arm64", Kind::Oci, 1);
        let step = self.run_seal(&[first.clone(), other])?;
        self.show_error(&step)?;
        let tags = self.sandbox.registry.tags(REPOSITORY);
        let stays = tags.get(TAG).is_some_and(|held| held == digest);
        self.expect("it ends with exit code 3", step.code == Some(3))?;
        self.expect("the tag still points to its earlier content", stays)?;
        let entries = self.sandbox.sigstore.entries();
        self.expect("nothing was signed", entries == 1)?;
        self.log_unless_held(&step)
    }

    fn verify(&mut self, digest: &str) -> anyhow::Result<()> {
        self.terminal
            .heading("4. Verify: the tag, by the identity of the workflow")?;
        let identity = self.sandbox.sigstore.identity();
        let step = self.run_verify(&identity)?;
        self.show(&step, &["verified", "digest"])?;
        self.expect("it ends with exit code 0", step.code == Some(0))?;
        let verified = step.output("verified") == "true" && step.output("digest") == digest;
        self.expect("the digest behind the tag is verified", verified)?;
        self.log_unless_held(&step)
    }

    fn wrong_identity(&mut self) -> anyhow::Result<()> {
        self.terminal
            .heading("5. Verify with another identity: refused at once")?;
        self.sandbox.registry.clear_requests();
        let step = self.run_verify(STRANGER)?;
        self.show_error(&step)?;
        let requests = self.sandbox.registry.requests();
        let looks = requests
            .iter()
            .filter(|r| r.path.contains("/referrers/"))
            .count();
        let names_signer = step.log.contains(&self.sandbox.sigstore.identity());
        let verified = step.output("verified") == "true";
        self.expect("it ends with exit code 3", step.code == Some(3))?;
        self.expect("one attempt was enough", looks == 1)?;
        self.expect("it names the actual signer", names_signer)?;
        self.expect("nothing is reported as verified", !verified)?;
        self.log_unless_held(&step)
    }

    fn run_seal(&self, images: &[Image]) -> anyhow::Result<Step> {
        let digests: Vec<&str> = images.iter().map(|image| image.digest.as_str()).collect();
        self.job.run(&[
            ("command", "seal"),
            ("image", &self.sandbox.registry.repository(REPOSITORY)),
            ("tags", TAG),
            ("digests", &digests.join("\n")),
            ("platforms", "linux/amd64,linux/arm64"),
            ("signing-config", &self.sandbox.sigstore.signing_config()),
            ("trusted-root", &self.sandbox.sigstore.trusted_root()),
            ("ca-bundle", &certificate_authority()),
            ("retry-delay", "100ms"),
        ])
    }

    fn run_verify(&self, identity: &str) -> anyhow::Result<Step> {
        let repository = self.sandbox.registry.repository(REPOSITORY);
        self.job.run(&[
            ("command", "verify"),
            ("image", &format!("{repository}:{TAG}")),
            ("certificate-identity", identity),
            ("certificate-oidc-issuer", &self.sandbox.sigstore.issuer()),
            ("trusted-root", &self.sandbox.sigstore.trusted_root()),
            ("ca-bundle", &certificate_authority()),
            ("retry-delay", "100ms"),
        ])
    }

    fn came_by_http2(&self) -> bool {
        let Sandbox { registry, sigstore } = &self.sandbox;
        let is_it = |request: &Request| request.version == Version::Http2;
        [registry.requests(), sigstore.requests()]
            .iter()
            .all(|requests| !requests.is_empty() && requests.iter().all(is_it))
    }

    /// True if the first push of a manifest by tag came after the last push by digest.
    fn signed_before_tagged(&self) -> bool {
        let puts = self.sandbox.registry.requests();
        let mut puts = puts
            .iter()
            .filter(|r| r.method == "PUT" && r.path.contains("/manifests/"))
            .map(|r| r.path.ends_with(&format!("/manifests/{TAG}")));
        let by_digest = puts.by_ref().take_while(|tag| !tag).count();
        // The index and its signature; after them only the tag.
        by_digest == 2 && puts.next().is_none()
    }

    fn show(&mut self, step: &Step, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            self.terminal.field(name, step.output(name))?;
        }
        Ok(())
    }

    /// Prints the first `::error::` of the log, like the runner, and the hint after it.
    fn show_error(&mut self, step: &Step) -> anyhow::Result<()> {
        let lines = || step.log.lines();
        let error = lines()
            .find_map(|line| line.strip_prefix("::error")?.split_once("::"))
            .map_or("none", |(_, text)| text);
        let error = error
            .replace("%0D", "")
            .replace("%0A", "\n")
            .replace("%25", "%");
        let hint = lines().find_map(|line| line.strip_prefix("hint: "));
        for (name, text) in [
            ("error", error.as_str()),
            ("hint", hint.unwrap_or_default()),
        ] {
            let mut name = name;
            for line in text.lines() {
                self.terminal.field(name, line)?;
                name = "";
            }
        }
        Ok(())
    }

    fn expect(&mut self, text: &str, held: bool) -> anyhow::Result<()> {
        self.held &= held;
        Ok(self.terminal.expectation(text, held)?)
    }

    /// Prints the log if an expectation was not met.
    fn log_unless_held(&mut self, step: &Step) -> anyhow::Result<()> {
        if self.held {
            return Ok(());
        }
        for line in step.log.lines() {
            self.terminal.line(&format!("   | {line}"))?;
        }
        Ok(())
    }
}
