//! Logins to Amazon's registries with the keys of the AWS environment.

use sandbox::{Fault, Options, Service};
use serde_json::json;

use crate::support::World;
use crate::support::hosted::{
    Hosted, KEY, PASSWORD, SECRET, SESSION, auths, aws, docker_config, kept_secret,
};

#[test]
fn aws_is_asked_once_and_only_without_another_login() {
    for service in [Service::Ecr, Service::EcrPublic] {
        let hosted = Hosted::new(service);
        let many: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
        let seal = hosted.logged_in(hosted.world.seal());
        seal.input("tags", many.join(","))
            .input("recursive", "true")
            .succeed();
        assert_eq!(hosted.asked_aws(), 1, "{service:?}");

        hosted.registry().clear_requests();
        let [host, ..] = service.hosts();
        let create = || hosted.logged_in(hosted.world.create());
        create()
            .input("registry-auths", auths(host, "AWS", PASSWORD))
            .succeed();
        let config = json!({"auths": {host: {"username": "AWS", "password": PASSWORD}}});
        docker_config(create(), &config).succeed();
        assert_eq!(hosted.asked_aws(), 0, "{service:?}");

        // The run itself does what Docker's credential helper would do.
        for config in [
            json!({"credHelpers": {host: "ecr-login"}}),
            json!({"auths": {host: {}}, "credsStore": "ecr-login"}),
        ] {
            hosted.registry().clear_requests();
            docker_config(create(), &config).succeed();
            assert_eq!(hosted.asked_aws(), 1, "{service:?}");
        }
    }
    // AWS is not contacted for another registry's challenge.
    let hosted = Hosted::new(Service::Quay);
    let endpoint = hosted.registry().url();
    let nobody = aws(hosted.anonymous(hosted.world.create()));
    nobody.env("AWS_ENDPOINT_URL_ECR", endpoint).end_with(1);
    assert_eq!(hosted.asked_aws(), 0);
}

#[test]
fn refusal_of_aws_names_the_missing_permission() {
    for (service, permission) in [
        (Service::Ecr, "`ecr:GetAuthorizationToken`"),
        (
            Service::EcrPublic,
            "`ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`",
        ),
    ] {
        let options = Options::new().like(service, "AWS", PASSWORD);
        let options = options.aws(KEY, SECRET, Some(SESSION), false);
        let denied = Hosted::of(service, World::with(options));
        let outcome = denied.logged_in(denied.world.create()).end_with(1);
        outcome.says(&[
            "could not get a login from AWS",
            "AccessDeniedException",
            "is not authorized to perform",
        ]);
        outcome.says(&[
            "hint: the role that the job assumes needs the permission",
            permission,
        ]);
        assert_eq!(denied.asked_aws(), 1, "it is no use to ask again");
        kept_secret(&outcome);

        // An expired session: the keys are right, the session token is not.
        let hosted = Hosted::new(service);
        let old = hosted.logged_in(hosted.world.create());
        let outcome = old.env("AWS_SESSION_TOKEN", "old").end_with(1);
        outcome.says(&[
            "InvalidSignatureException",
            "hint: AWS does not accept the keys in the environment",
        ]);
        let other = hosted.logged_in(hosted.world.create());
        let outcome = other.env("AWS_SECRET_ACCESS_KEY", "other").end_with(1);
        outcome.says(&["does not match the signature you provided"]);

        // Throttling by AWS is temporary: the request is retried.
        let hosted = Hosted::new(service);
        let throttled = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
        hosted
            .registry()
            .fault(Fault::on("POST", "/").answer(400, &[], throttled));
        let outcome = hosted.logged_in(hosted.world.create()).succeed();
        outcome.says(&["login from", "Rate exceeded"]);

        let variable = if service == Service::EcrPublic {
            "AWS_ENDPOINT_URL_ECR_PUBLIC"
        } else {
            "AWS_ENDPOINT_URL_ECR"
        };
        let plain = hosted.logged_in(hosted.world.create());
        let outcome = plain.env(variable, "http://aws.example").end_with(1);
        outcome.says(&[&format!("variable `{variable}` is not HTTPS")]);
    }
}
