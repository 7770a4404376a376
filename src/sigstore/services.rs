//! The selection of the services to sign with from a signing config.

use std::collections::BTreeSet;

use reqwest::Url;
use sigstore_trust_root::{ServiceConfiguration, ServiceEndpoint, ServiceSelector, SigningConfig};

use super::endpoint::Endpoint;
use super::error::TrustError;

/// One service of each kind, for the signatures that this program makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) certificates: Endpoint,
    /// The log for bundles.
    pub(super) log: LogService,
    /// The log for legacy signatures, which contain a promise that only Rekor v1 gives; `None` if no v1 can be used.
    pub(super) legacy_log: Option<LogService>,
    pub(super) timestamps: Option<Endpoint>,
}

/// A log and the version of its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogService {
    pub(super) endpoint: Endpoint,
    pub(super) version: LogVersion,
}

/// The two interfaces of Rekor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogVersion {
    /// Returns the time of an entry, and serves entries by their id.
    V1,
    /// Returns no time, so a signature needs a timestamp authority.
    V2,
}

impl Services {
    /// Selects valid services from `config`: the newest version of log, and the first of each other kind.
    pub(super) fn choose(config: &SigningConfig) -> Result<Self, TrustError> {
        let authority = config.fulcio_url().ok_or(TrustError::Services(
            "it names no valid certificate authority",
        ))?;
        let logs = config.eligible_rekor_urls(None);
        let log = *logs
            .first()
            .ok_or(TrustError::Services("it names no valid log"))?;
        if !one_is_enough(&config.rekor_tlog_config, &logs) {
            return Err(TrustError::Services("it requires more than one log"));
        }
        let log = log_service(log)?;
        let timestamps = timestamps(config)?;
        if timestamps.is_none() && log.version == LogVersion::V2 {
            return Err(TrustError::Services(
                "its log needs a timestamp authority and it names none",
            ));
        }
        let legacy_log = config.eligible_rekor_urls(Some(1)).first().copied();
        Ok(Self {
            certificates: address(authority)?,
            log,
            legacy_log: legacy_log.map(log_service).transpose()?,
            timestamps,
        })
    }

    /// The addresses of the servers that a signature needs and that use TLS, each once.
    pub(super) fn origins(&self) -> BTreeSet<Url> {
        let logs = [Some(&self.log), self.legacy_log.as_ref()];
        let logs = logs.into_iter().flatten().map(|log| &log.endpoint);
        let endpoints = logs.chain(&self.timestamps).chain([&self.certificates]);
        endpoints.filter_map(Endpoint::origin).collect()
    }
}

/// Selects the timestamp authority. A config that lists no authority needs none; one that lists only invalid ones is an
/// error.
fn timestamps(config: &SigningConfig) -> Result<Option<Endpoint>, TrustError> {
    if config.tsa_urls.is_empty() {
        return Ok(None);
    }
    let authorities = config.eligible_tsa_urls();
    if !one_is_enough(&config.tsa_config, &authorities) {
        return Err(TrustError::Services(
            "it requires more than one timestamp authority",
        ));
    }
    let first = *authorities.first().ok_or(TrustError::Services(
        "it names no valid timestamp authority",
    ))?;
    address(first).map(Some)
}

/// True if a single service is enough for the config. `ALL` means one per operator.
fn one_is_enough(wanted: &ServiceConfiguration, eligible: &[&ServiceEndpoint]) -> bool {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open, and a selector we do not know cannot be met"
    )]
    match wanted.selector {
        ServiceSelector::Any => true,
        ServiceSelector::Exact => wanted.count == Some(1),
        ServiceSelector::All => match eligible {
            [] | [_] => true,
            [first, rest @ ..] => {
                first.operator.is_some() && rest.iter().all(|each| each.operator == first.operator)
            }
        },
        _ => false,
    }
}

fn log_service(service: &ServiceEndpoint) -> Result<LogService, TrustError> {
    let version = match service.major_api_version {
        1 => LogVersion::V1,
        2 => LogVersion::V2,
        _ => return Err(TrustError::Services("it names a log of an unknown version")),
    };
    Ok(LogService {
        endpoint: address(service)?,
        version,
    })
}

fn address(service: &ServiceEndpoint) -> Result<Endpoint, TrustError> {
    Endpoint::parse(&service.url).map_err(TrustError::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(logs: &str, log_config: &str, rest: &str) -> Result<Services, TrustError> {
        let text = format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls":[{{"url":"https://ca.example","majorApiVersion":1,"validFor":{{"start":"2020-01-01T00:00:00Z"}}}}],
            "rekorTlogUrls":[{logs}],"rekorTlogConfig":{log_config}{rest}}}"#
        );
        Services::choose(&SigningConfig::from_json(&text).unwrap())
    }

    fn log(version: u32, operator: &str) -> String {
        format!(
            r#"{{"url":"https://log{version}.example","majorApiVersion":{version},"validFor":{{"start":"2020-01-01T00:00:00Z"}},"operator":"{operator}"}}"#
        )
    }

    const ANY: &str = r#"{"selector":"ANY"}"#;
    const TIMESTAMPS: &str = r#","tsaUrls":[{"url":"https://time.example/t","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"}}],"tsaConfig":{"selector":"ANY"}"#;

    #[test]
    fn the_newest_log_is_taken_and_it_needs_a_timestamp_authority() {
        let both = format!("{},{}", log(1, "a"), log(2, "a"));
        let services = config(&both, ANY, TIMESTAMPS).unwrap();
        let expected = |version: LogVersion, url: &str| LogService {
            endpoint: Endpoint::parse(url).unwrap(),
            version,
        };
        assert_eq!(
            services.log,
            expected(LogVersion::V2, "https://log2.example")
        );
        // A legacy signature needs a promise, so it uses the log that gives one.
        assert_eq!(
            services.legacy_log,
            Some(expected(LogVersion::V1, "https://log1.example"))
        );
        assert!(matches!(
            config(&both, ANY, ""),
            Err(TrustError::Services(_))
        ));
        assert_eq!(config(&log(1, "a"), ANY, "").unwrap().timestamps, None);
        let only_new = config(&log(2, "a"), ANY, TIMESTAMPS).unwrap();
        assert_eq!(only_new.legacy_log, None);
    }

    #[test]
    fn each_server_that_speaks_tls_is_one_origin() {
        let both = format!("{},{}", log(1, "a"), log(2, "a"));
        let mut services = config(&both, ANY, TIMESTAMPS).unwrap();
        let origins = |services: &Services| -> Vec<String> {
            services.origins().iter().map(Url::to_string).collect()
        };
        let all = [
            "https://ca.example/",
            "https://log1.example/",
            "https://log2.example/",
            "https://time.example/",
        ];
        assert_eq!(origins(&services), all);
        services.timestamps = Some(Endpoint::parse("https://ca.example/t").unwrap());
        services.log.endpoint = Endpoint::parse("http://127.0.0.1:1/log").unwrap();
        services.legacy_log = None;
        assert_eq!(origins(&services), all[..1]);
    }

    #[test]
    fn more_services_than_one_are_not_pretended() {
        let both = format!("{},{}", log(1, "a"), log(1, "b"));
        let accepted = |selector: &str, logs: &str| config(logs, selector, TIMESTAMPS).is_ok();
        assert!(accepted(r#"{"selector":"EXACT","count":1}"#, &both));
        assert!(!accepted(r#"{"selector":"EXACT","count":2}"#, &both));
        assert!(!accepted(r#"{"selector":"ALL"}"#, &both));
        assert!(accepted(
            r#"{"selector":"ALL"}"#,
            &format!("{},{}", log(1, "a"), log(1, "a"))
        ));
        assert!(!accepted(
            r#"{"selector":"SERVICE_SELECTOR_UNDEFINED"}"#,
            &both
        ));
    }

    #[test]
    fn no_log_and_services_over_plain_http_are_refused() {
        assert!(matches!(
            config("", ANY, TIMESTAMPS),
            Err(TrustError::Services(_))
        ));
        let plain = log(1, "a").replace("https", "http");
        assert!(matches!(
            config(&plain, ANY, ""),
            Err(TrustError::Address(_))
        ));
    }
}
