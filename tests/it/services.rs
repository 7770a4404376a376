//! Each hosted registry with its own behavior: every command succeeds, and a rerun changes nothing. Credentials go only to
//! their own hosts, and a denial is never treated as absence.

use std::time::Duration;

use sandbox::{Authorization, Fault, Options, Request, Service};

use crate::support::hosted::{Hosted, PASSWORD, auths, docker_login, kept_secret, user};
use crate::support::{Outcome, REPOSITORY, until};

#[test]
fn everything_is_made_signed_and_left_alone_by_a_rerun_at_every_service() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let said = |outcome: &Outcome, wanted: [&str; 2]| {
            kept_secret(outcome);
            hosted.kept_to_itself();
            let got = ["result", "sign-skipped"].map(|name| outcome.output(name).to_owned());
            assert_eq!(got, wanted, "{service:?}\n{}", outcome.log);
        };
        let create = hosted.logged_in(hosted.world.create());
        said(&create.succeed(), ["created", "false"]);
        assert!(!hosted.writes().is_empty(), "{service:?}");

        hosted.registry().clear_requests();
        said(&create.succeed(), ["unchanged", "false"]);
        assert_eq!(hosted.writes(), [], "{service:?}");

        let seal = hosted.logged_in(hosted.world.seal());
        said(&seal.succeed(), ["unchanged", "false"]);
        hosted.registry().clear_requests();
        said(
            &hosted.logged_in(hosted.world.seal()).succeed(),
            ["unchanged", "true"],
        );
        assert_eq!(hosted.writes(), [], "{service:?}");
    }
}

#[test]
fn images_are_mounted_in_a_second_repository_with_a_token_for_both_at_every_service() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let [host, ..] = service.hosts();
        let tags = format!("v1\n{host}/octo-org/second:v1");
        let seal = hosted.logged_in(hosted.world.seal()).input("tags", tags);
        let outcome = seal.succeed();
        kept_secret(&outcome);
        hosted.kept_to_itself();
        let second = hosted.registry().tags("octo-org/second");
        assert_eq!(second["v1"], outcome.output("digest"), "{service:?}");
        let requests = hosted.registry().requests();
        let mounted =
            |request: &&Request| request.path.contains("mount=") && request.status == Some(201);
        // Two configs and two layers are mounted: no blob is copied through this machine.
        assert_eq!(requests.iter().filter(mounted).count(), 4, "{service:?}");
    }
}

#[test]
fn missing_or_wrong_login_is_reported_and_writes_nothing() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let nobody = hosted.anonymous(hosted.world.create()).end_with(1);
        nobody.says(&["hint: no credentials were given"]);
        let [host, ..] = service.hosts();
        let wrong = hosted
            .anonymous(hosted.world.create())
            .input("registry-auths", auths(host, user(service), "wrong-one"));
        let wrong = wrong.end_with(1);
        wrong.says(&["hint: the credentials came from `registry-auths`"]);
        for outcome in [nobody, wrong] {
            kept_secret(&outcome);
            assert!(!outcome.outputs.contains_key("digest") || outcome.output("digest").is_empty());
        }
        hosted.kept_to_itself();
        // ECR Public allows anonymous reads, so it refuses the push.
        let mut stored = hosted.writes();
        stored.retain(|request| request.status.is_some_and(|status| status < 300));
        assert_eq!(stored, [], "{service:?}");
        assert!(hosted.world.tags().is_empty(), "{service:?}");
    }
}

#[test]
fn read_only_login_is_reported_and_no_tag_counts_as_absent() {
    for service in Service::ALL {
        if service == Service::Ecr {
            // The permissions at ECR are those of AWS, and are not part of a token.
            continue;
        }
        let hosted = Hosted::with(service, Options::new().grants(&["pull"]));
        let outcome = hosted.logged_in(hosted.world.create()).end_with(1);
        outcome.says(&["hint: the credentials came from"]);
        if service == Service::Ghcr {
            outcome.says(&["`permissions: packages: write`", "(Manage Actions access)"]);
        }
        hosted.kept_to_itself();
        assert!(hosted.world.tags().is_empty(), "{service:?}");
        // Content that already exists needs no write permission.
        let index = Hosted::new(service);
        let made = index.logged_in(index.world.create()).succeed();
        let (_, bytes) = index.registry().manifest(REPOSITORY, "v1").unwrap();
        let media_type = "application/vnd.oci.image.index.v1+json";
        hosted
            .registry()
            .push_raw(REPOSITORY, Some("v1"), media_type, &bytes);
        let again = hosted.logged_in(hosted.world.create()).succeed();
        assert_eq!(again.output("digest"), made.output("digest"));
        assert_eq!(again.output("result"), "unchanged", "{service:?}");
    }
}

#[test]
fn tag_that_was_deleted_is_absent_in_each_service_s_own_words() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let create = hosted.logged_in(hosted.world.create());
        create.succeed();
        hosted.registry().delete_tag(REPOSITORY, "v1");
        let again = hosted.logged_in(hosted.world.create()).succeed();
        assert_eq!(again.output("result"), "created", "{service:?}");
        assert!(hosted.world.tag("v1").is_some(), "{service:?}");
    }
}

#[test]
fn token_that_is_taken_away_in_the_middle_is_asked_for_again() {
    for service in Service::ALL {
        if service == Service::Ecr
            || service == Service::ArtifactRegistry
            || service == Service::Ghcr
        {
            // ECR has no tokens. The other two services' response to a revoked token is unknown.
            continue;
        }
        let hosted = Hosted::new(service);
        let slow = Duration::from_millis(300);
        let index = Fault::on("PUT", "*/manifests/sha256:*");
        hosted.registry().fault(index.delay(slow));
        let running = hosted.logged_in(hosted.world.create()).begin();
        until("the index", || {
            hosted
                .writes()
                .iter()
                .any(|request| request.method == "PUT")
        });
        hosted.registry().revoke_tokens();
        let outcome = running.end();
        assert_eq!(outcome.code, 0, "{service:?}\n{}", outcome.log);
        assert_eq!(hosted.registry().token_requests(), 2, "{service:?}");
        kept_secret(&outcome);
    }
}

#[test]
fn what_is_public_is_verified_by_anybody() {
    for service in Service::ALL {
        if service == Service::Ecr {
            // ECR has nothing public.
            continue;
        }
        let hosted = Hosted::with(service, Options::new().anonymous_pull(true));
        let sealed = hosted.logged_in(hosted.world.seal()).succeed();
        hosted.registry().clear_requests();
        let image = format!("{}/{REPOSITORY}:v1", service.hosts()[0]);
        let verify = hosted.anonymous(hosted.world.verify("v1"));
        let verified = verify.input("image", image).succeed();
        assert_eq!(verified.output("digest"), sealed.output("digest"));
        let requests = hosted.registry().requests();
        let shown = requests.iter().map(|request| request.authorization);
        // A token for anonymous access does not count as one of our credentials.
        let ours =
            shown.filter(|shown| !matches!(shown, Authorization::None | Authorization::Bearer));
        assert_eq!(ours.count(), 0, "{service:?}");
    }
}

#[test]
fn docker_hub_goes_by_all_its_names() {
    for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
        ] {
            let hosted = Hosted::new(Service::DockerHub);
            let action = hosted
                .anonymous(hosted.world.create())
                .input("image", format!("{name}/{REPOSITORY}"));
            let outcome = docker_login(action, key, PASSWORD).succeed();
            assert_eq!(outcome.output("result"), "created", "{name} {key}");
            hosted.kept_to_itself();
        }
    }
}
