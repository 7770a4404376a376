//! Amazon's registries: their hosts, and the AWS endpoints that issue logins for them.
//!
//! Sources: `ecr-login/api/client.go` of awslabs/amazon-ecr-credential-helper for the hosts; the endpoint rules of
//! AWS's SDKs for the services `ecr` and `ecr-public`.

use crate::domain::Host;

/// Amazon's two registry services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Private,
    Public,
}

/// An action of AWS's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Issues a login.
    GetAuthorizationToken,
    /// Deletes tags.
    BatchDeleteImage,
    /// Lists the tags of an image.
    DescribeImages,
}

/// One of Amazon's registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ecr {
    pub(super) service: Service,
    pub(super) region: String,
    /// The host that issues logins.
    pub(super) endpoint: String,
}

impl Ecr {
    /// Reads a registry's host. Returns `None` for one that is not Amazon's.
    pub(super) fn of(host: &Host) -> Option<Self> {
        // Only this region issues logins for it.
        let public = |endpoint: &str| Self {
            service: Service::Public,
            region: "us-east-1".to_owned(),
            endpoint: endpoint.to_owned(),
        };
        match host.as_str() {
            "public.ecr.aws" => Some(public("api.ecr-public.us-east-1.amazonaws.com")),
            "ecr-public.aws.com" => Some(public("ecr-public.us-east-1.api.aws")),
            other => private(other),
        }
    }
}

/// Reads `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX`, with `dkr-ecr` if the host also has IPv6.
fn private(host: &str) -> Option<Ecr> {
    let (account, rest) = host.split_at_checked(12)?;
    if !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest = rest
        .strip_prefix(".dkr.ecr")
        .or_else(|| rest.strip_prefix(".dkr-ecr"))?;
    let fips = rest.strip_prefix("-fips.");
    let (region, suffix) = fips.or(rest.strip_prefix('.'))?.split_once('.')?;
    let is_region = region.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_region {
        return None;
    }
    // SECURITY: only AWS's own suffixes are accepted, because anyone may have a host that looks similar.
    let endpoint = match (suffix, fips.is_some()) {
        ("amazonaws.com", true) => format!("ecr-fips.{region}.amazonaws.com"),
        ("on.aws", false) => format!("ecr.{region}.api.aws"),
        ("on.aws", true) => format!("ecr-fips.{region}.api.aws"),
        ("on.amazonwebservices.com.cn", false) => {
            format!("ecr.{region}.api.amazonwebservices.com.cn")
        }
        (
            "amazonaws.com" | "amazonaws.com.cn" | "amazonaws.eu" | "sc2s.sgov.gov" | "c2s.ic.gov"
            | "cloud.adc-e.uk" | "csp.hci.ic.gov",
            false,
        ) => format!("api.ecr.{region}.{suffix}"),
        _ => return None,
    };
    Some(Ecr {
        service: Service::Private,
        region: region.to_owned(),
        endpoint,
    })
}

impl Service {
    /// Returns the service name for signatures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Private => "ecr",
            Self::Public => "ecr-public",
        }
    }

    /// Returns the value of the `x-amz-target` header.
    pub(super) fn target(self, action: Action) -> String {
        let target = match self {
            Self::Private => "AmazonEC2ContainerRegistry_V20150921",
            Self::Public => "SpencerFrontendService",
        };
        let action = match action {
            Action::GetAuthorizationToken => "GetAuthorizationToken",
            Action::BatchDeleteImage => "BatchDeleteImage",
            Action::DescribeImages => "DescribeImages",
        };
        format!("{target}.{action}")
    }

    pub(super) fn permission(self) -> &'static str {
        match self {
            Self::Private => "ecr:GetAuthorizationToken",
            Self::Public => "ecr-public:GetAuthorizationToken",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str) -> Option<(&'static str, String, String)> {
        let ecr = Ecr::of(&host.parse().unwrap())?;
        Some((ecr.service.name(), ecr.region, ecr.endpoint))
    }

    #[test]
    fn every_form_of_host_leads_to_its_own_endpoint() {
        for (host, service, region, endpoint) in [
            (
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "ecr",
                "eu-west-1",
                "api.ecr.eu-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "ecr",
                "cn-north-1",
                "api.ecr.cn-north-1.amazonaws.com.cn",
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "ecr",
                "us-gov-west-1",
                "ecr-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "ecr",
                "eusc-de-east-1",
                "api.ecr.eusc-de-east-1.amazonaws.eu",
            ),
            (
                "123456789012.dkr-ecr.us-west-2.on.aws",
                "ecr",
                "us-west-2",
                "ecr.us-west-2.api.aws",
            ),
            (
                "123456789012.dkr-ecr-fips.us-east-1.on.aws",
                "ecr",
                "us-east-1",
                "ecr-fips.us-east-1.api.aws",
            ),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "ecr",
                "cn-north-1",
                "ecr.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
                "ecr",
                "us-iso-east-1",
                "api.ecr.us-iso-east-1.c2s.ic.gov",
            ),
            (
                "public.ecr.aws",
                "ecr-public",
                "us-east-1",
                "api.ecr-public.us-east-1.amazonaws.com",
            ),
            (
                "ecr-public.aws.com",
                "ecr-public",
                "us-east-1",
                "ecr-public.us-east-1.api.aws",
            ),
        ] {
            let wanted = (service, region.to_owned(), endpoint.to_owned());
            assert_eq!(of(host), Some(wanted), "{host}");
        }
    }

    #[test]
    fn host_that_only_looks_like_one_gets_nothing() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-west-1.evil.example",
            "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901a.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443",
            "123456789012.dkr.ecr.amazonaws.com",
            "123456789012.dkr.ecr-evil.eu-west-1.amazonaws.com",
            "api.ecr.eu-west-1.amazonaws.com",
            "evil.public.ecr.aws",
            "ghcr.io",
        ] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
