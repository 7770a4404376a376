//! Tests of the program from outside. They run the real binary as GitHub's runner does, against a registry and a Sigstore on
//! loopback. Others check the rules of the source tree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it counted"
)]

mod support;

mod adoption;
mod advice;
mod aws;
mod boundaries;
mod budget;
mod candidates;
mod certificates;
mod cleanup;
mod cleanup_created;
mod cleanup_unwritten;
mod contract;
mod copies;
mod create;
mod credentials;
mod dead_entries;
mod deletion;
mod deletion_by_digest;
mod deletion_ghcr;
mod earlier_records;
mod faults;
mod forged_records;
mod given_indexes;
mod grid;
mod growth;
mod hostile;
mod http2;
mod imports;
mod inputs;
mod interrupted;
mod job_token;
mod known_signatures;
mod legacy;
mod legacy_tag;
mod listed_for_another;
mod many_candidates;
mod moving;
mod moving_versions;
mod never_seen;
mod observed_parts;
mod outage_table;
mod outages;
mod own_repository;
mod preflight;
mod preflight_new;
mod proxies;
mod public_tokens;
mod publish;
mod publish_carried;
mod publish_gate;
mod publish_sources;
mod record;
mod referrers;
mod registry_features;
mod release_patch;
mod replay;
mod report;
mod republish;
mod request_limit;
mod same_index;
mod services;
mod several;
mod several_faults;
mod several_healed;
mod sha512;
mod shared_reads;
mod shared_tags;
mod sign;
mod sigstore_connections;
mod strict_signatures;
mod surroundings;
mod tagged_digests;
mod tags;
mod tags_without_manifest;
mod tokens;
mod trace;
mod trust;
mod unblocked_tags;
mod unpublishable;
mod unusable_lists;
mod unusable_records;
mod uploads;
mod vanished;
mod verify;
mod versions;
mod vouched;
mod vouched_records;
mod wording;
mod workflow_expressions;
mod workflow_names;
mod workflow_scripts;
mod workflows;
