//! Manual steps for each registry to delete a tag that this program cannot delete, as a command or a link.

use crate::domain::FullTag;
use crate::registry::ecr::{Ecr, Service};

/// Returns the manual steps that delete `tag`.
#[must_use]
pub fn manual_steps(tag: &FullTag) -> String {
    // SECURITY: names are printed in single quotes for a shell. Their grammar excludes such quotes.
    let (host, path, name) = (tag.repository.host(), tag.repository.path(), &tag.tag);
    if host.is_docker_hub() {
        return format!("delete the tag `{name}` on https://hub.docker.com/r/{path}/tags");
    }
    if let Some(ecr) = Ecr::of(host) {
        let (service, repository) = match ecr.service {
            Service::Private => ("ecr", path),
            Service::Public => (
                "ecr-public",
                path.split_once('/').map_or(path, |(_, name)| name),
            ),
        };
        let region = &ecr.region;
        return format!(
            "`aws {service} batch-delete-image --region '{region}' --repository-name '{repository}' --image-ids 'imageTag={name}'`, which also deletes the image if that is its last tag"
        );
    }
    let host = host.as_str();
    if host == "ghcr.io" {
        let (owner, package) = path.split_once('/').unwrap_or((path, path));
        let package = package.replace('/', "%2F");
        return format!(
            "on https://github.com/orgs/{owner}/packages/container/{package}/versions (for a user: https://github.com/users/{owner}/packages/container/{package}/versions) delete the version that has the tag `{name}`, which deletes all tags of that version; the last tagged version can only be deleted with the package"
        );
    }
    if let Some(registry) = host.strip_suffix(".azurecr.io") {
        return format!("`az acr repository untag --name '{registry}' --image '{path}:{name}'`");
    }
    if host.ends_with("-docker.pkg.dev") {
        return format!("`gcloud artifacts docker tags delete '{tag}'`");
    }
    if host == "quay.io" {
        return format!("delete the tag `{name}` on https://quay.io/repository/{path}?tab=tags");
    }
    format!("`regctl tag delete '{tag}'`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ImageReference;

    #[test]
    fn each_registry_has_steps_that_lead_to_the_tag() {
        for (name, wanted) in [
            ("docker.io/o/r:v1", "https://hub.docker.com/r/o/r/tags"),
            (
                "ghcr.io/o/a/b:v1",
                "https://github.com/orgs/o/packages/container/a%2Fb/versions",
            ),
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:v1",
                "`aws ecr batch-delete-image --region 'eu-west-1' --repository-name 'a/b' --image-ids 'imageTag=v1'`",
            ),
            (
                "public.ecr.aws/alias/a:v1",
                "`aws ecr-public batch-delete-image --region 'us-east-1' --repository-name 'a' --image-ids 'imageTag=v1'`",
            ),
            (
                "octo.azurecr.io/o/r:v1",
                "`az acr repository untag --name 'octo' --image 'o/r:v1'`",
            ),
            (
                "europe-docker.pkg.dev/p/r/i:v1",
                "`gcloud artifacts docker tags delete 'europe-docker.pkg.dev/p/r/i:v1'`",
            ),
            ("quay.io/o/r:v1", "https://quay.io/repository/o/r?tab=tags"),
            (
                "harbor.example/o/r:v1",
                "`regctl tag delete 'harbor.example/o/r:v1'`",
            ),
        ] {
            let image: ImageReference = name.parse().unwrap();
            let steps = manual_steps(&image.try_into().unwrap());
            assert!(steps.contains(wanted), "{steps}");
        }
    }
}
