//! What sources and sinks promise, each with the test that proves it: `docs/reference/guarantees.md`.

use std::fmt::Write as _;
use std::path::Path;

use super::reference::{GENERATED, assert_page, cell};

/// A promise, and where it is kept.
struct Promise {
    /// Whose: a connector, with what is set.
    of: &'static str,
    /// What holds.
    holds: &'static str,
    /// The tests that would fail if it did not: file and name.
    proved_by: &'static [Test],
}

/// A file below the root, and a test in it.
type Test = (&'static str, &'static str);

const fn promise(of: &'static str, holds: &'static str, proved_by: &'static [Test]) -> Promise {
    Promise { of, holds, proved_by }
}

const ETL: &str = "e2e/tests/kafka/etl.rs";
const BAD: &str = "e2e/tests/kafka/bad_input.rs";
const CORRUPT: &str = "e2e/tests/kafka/corrupt.rs";
const REJECTED: &str = "e2e/tests/kafka/rejected.rs";
const LEADERS: &str = "e2e/tests/kafka/leaders.rs";
const SECURITY: &str = "e2e/tests/kafka/security.rs";
const ADDRESSES: &str = "worker/tests/it/addresses.rs";
const CLIENT: &str = "worker/connectors/tests/kafka_client.rs";
const SOURCE: &str = "worker/connectors/src/kafka/source.rs";
const KILLS: &str = "worker/tests/it/kills.rs";
const WATCH: &str = "worker/tests/it/watch.rs";
const CHANGES: &str = "worker/tests/it/bad_input/changes.rs";
const SINKS: &str = "worker/connectors/src/files/tests/sinks.rs";

const SOURCES: &[Promise] = &[
    promise(
        "`kafka`",
        "each committed record once, in the order of its partition, across SIGKILL at any moment",
        &[
            (ETL, "nothing_is_lost_repeated_or_out_of_order_under_kills"),
            ("e2e/tests/kafka/windows.rs", "every_window_is_exact_under_kills"),
        ],
    ),
    promise(
        "`kafka`",
        "records of aborted and open transactions are not read",
        &[(CLIENT, "transactions_show_at_once_or_never_and_positions_run_over_their_markers")],
    ),
    promise(
        "`kafka`",
        "`startAt` is decided once; a partition that is added later is read from its beginning",
        &[
            ("e2e/tests/kafka/starts.rs", "partitions_start_where_the_source_says_and_later_starts_go_on"),
            (ETL, "a_new_partition_is_read_from_its_beginning_while_it_runs"),
        ],
    ),
    promise(
        "`kafka`",
        "what cannot be read any more is `DataLoss`; nothing is skipped",
        &[
            (BAD, "what_retention_deleted_before_it_was_read_is_data_loss"),
            (BAD, "a_topic_that_is_made_again_is_not_taken_for_the_one_that_was_read"),
            (CORRUPT, "a_batch_whose_checksum_is_wrong_stops_the_pipeline_and_nothing_is_skipped"),
            (CORRUPT, "a_batch_that_cannot_be_decompressed_stops_the_pipeline_and_nothing_is_skipped"),
            (LEADERS, "records_that_a_new_leader_does_not_have_are_data_loss"),
        ],
    ),
    promise(
        "`files`",
        "each record of the files that were there at the first start once, across SIGKILL",
        &[
            (KILLS, "stateless_json_survives_kills"),
            (KILLS, "windows_to_json_survive_kills"),
            (CHANGES, "a_file_that_appears_later_is_not_part_of_a_bounded_source"),
        ],
    ),
    promise(
        "`files`, `watch`",
        "new files and new lines once, across SIGKILL",
        &[(WATCH, "new_and_growing_files_are_counted_once_across_kills")],
    ),
    promise(
        "`files`",
        "a file that went, shrank or changed before it was read is `DataLoss`",
        &[
            (CHANGES, "a_file_that_vanished_shrank_or_changed_is_data_loss_until_it_is_back"),
            (WATCH, "a_file_that_shrinks_ends_the_run_at_once_with_its_name"),
        ],
    ),
    promise(
        "`generator`",
        "the same records for one seed, however many splits read them",
        &[("worker/connectors/src/generator/source/tests.rs", "the_records_are_the_same_for_any_number_of_splits")],
    ),
];

const SINK_PROMISES: &[Promise] = &[
    promise(
        "`kafka`, `ExactlyOnce`, no windows",
        "each row once, in the order of its key, for readers of committed records; no state URL is needed",
        &[(ETL, "nothing_is_lost_repeated_or_out_of_order_under_kills")],
    ),
    promise(
        "`kafka`, `ExactlyOnce`, windows",
        "each row once, with `state.url` or `--state`",
        &[("e2e/tests/kafka/windows.rs", "every_window_is_exact_under_kills")],
    ),
    promise(
        "`kafka`, `AtLeastOnce`",
        "no row is lost; after a kill a unit repeats everything since the position that it committed last",
        &[("e2e/tests/kafka/at_least_once.rs", "at_least_once_loses_nothing_under_kills_and_repeats_whole_ranges")],
    ),
    promise(
        "`kafka`",
        "nothing that a former owner writes is ever seen",
        &[
            (
                "e2e/tests/workers/zombie.rs",
                "nothing_that_a_worker_writes_after_its_units_were_taken_over_is_ever_seen",
            ),
            (CLIENT, "a_unit_is_written_at_the_epoch_that_was_assigned_and_by_one_process_of_an_epoch"),
        ],
    ),
    promise(
        "`kafka`",
        "an outage of the brokers costs time and nothing else, and is told (reason `Unreachable`)",
        &[
            (ETL, "a_broker_that_goes_away_and_comes_back_costs_nothing"),
            ("e2e/tests/workers/outage.rs", "a_broker_that_goes_away_is_reported_and_nothing_ends_until_it_is_back"),
            (
                "e2e/tests/workers/outage.rs",
                "a_broker_of_a_sink_that_goes_away_is_reported_until_it_is_back_and_costs_no_row",
            ),
            (CLIENT, "rows_of_a_transaction_that_the_broker_aborted_are_sent_again_and_show_once"),
        ],
    ),
    promise(
        "`kafka`, three brokers",
        "new leaders in the middle of transactions, and a broker that stands still, cost no record",
        &[
            (LEADERS, "leaders_that_change_in_mid_transaction_cost_no_record"),
            (LEADERS, "a_broker_of_three_that_stands_still_is_left_and_costs_no_record"),
        ],
    ),
    promise(
        "`kafka`",
        "a key goes where Java's producer sends it, in each compression",
        &[
            (CLIENT, "a_key_goes_where_the_producer_of_java_sends_it"),
            (CLIENT, "what_java_compresses_is_read_and_what_is_compressed_here_is_read_by_java"),
        ],
    ),
    promise(
        "`files`, no windows",
        "each row once in one run; across kills and restarts with `state.url` or `--state`",
        &[
            ("worker/tests/it/resume.rs", "files_to_files_without_state_give_each_row_once"),
            (KILLS, "stateless_json_survives_kills"),
            (KILLS, "stateless_parquet_survives_kills"),
            (SINKS, "exactly_the_committed_rows_are_seen_wherever_a_writer_dies"),
        ],
    ),
    promise(
        "`files`, windows or `partitionBy`",
        "each row once, with `state.url` or `--state`; never a file that is not committed or half written",
        &[
            (KILLS, "windows_to_json_by_partition_survive_kills"),
            (KILLS, "two_stages_to_parquet_by_partition_survive_kills"),
            (SINKS, "publishing_goes_on_wherever_it_was_cut"),
        ],
    ),
    promise(
        "`files` in a bucket",
        "as `files`",
        &[("worker/tests/it/s3.rs", "rows_go_into_a_bucket_and_out_again_with_state_in_it_and_kills_in_between")],
    ),
    promise("`stdout`, `blackhole`", "nothing: rows may come again after a restart", &[]),
];

const FAULTS: &[Promise] = &[
    promise(
        "an undecodable value or key, a tombstone",
        "a bad record: `onError` of the source; reason `BadRecord` where it is `Fail`",
        &[
            (BAD, "bad_records_become_dead_letters_in_the_same_transaction_and_metadata_are_columns"),
            (BAD, "a_bad_record_fails_the_pipeline_with_its_topic_partition_and_offset"),
        ],
    ),
    promise(
        "a header without a value",
        "a null in the column `headers`",
        &[(BAD, "bad_records_become_dead_letters_in_the_same_transaction_and_metadata_are_columns")],
    ),
    promise(
        "a record of 10 MiB, and a longer one",
        "read; a bad record (`maxRecordBytes`)",
        &[(BAD, "a_record_of_ten_megabytes_is_read_and_a_longer_one_is_a_bad_record")],
    ),
    promise(
        "a batch that is corrupt",
        "asked for again, then reason `DataLoss` with the offset",
        &[
            (CORRUPT, "a_batch_whose_checksum_is_wrong_stops_the_pipeline_and_nothing_is_skipped"),
            (CORRUPT, "a_batch_that_cannot_be_decompressed_stops_the_pipeline_and_nothing_is_skipped"),
        ],
    ),
    promise(
        "a topic's name that is not allowed",
        "refused by the schema, at its field",
        &[("crds/tests/generated.rs", "all_bad_manifests_show_all_of_their_problems")],
    ),
    promise(
        "a topic that is not there, is deleted, or made again",
        "waited for at the start, then named (reason `ReferenceNotFound`); `DataLoss` once it was read, also at later starts",
        &[
            (BAD, "a_topic_that_is_not_there_is_waited_for_and_then_named"),
            (BAD, "a_topic_that_is_made_again_is_not_taken_for_the_one_that_was_read"),
            (
                "e2e/tests/workers/missing.rs",
                "a_topic_that_is_deleted_while_it_is_read_is_data_loss_within_seconds_and_at_every_later_start",
            ),
        ],
    ),
    promise(
        "retention that overtakes the reader",
        "reason `DataLoss`, with both offsets",
        &[
            (BAD, "what_retention_deleted_before_it_was_read_is_data_loss"),
            (BAD, "what_comes_and_goes_after_a_partition_was_begun_is_data_loss_though_nothing_was_read"),
        ],
    ),
    promise(
        "a log that was cut back behind what was read of it, as by an unclean election of a leader",
        "reason `DataLoss`, with the offset, and the end where that is known. Not noticed after a restart, or where another worker takes \
         the partition over, if the log has grown beyond the offset by then",
        &[
            (LEADERS, "records_that_a_new_leader_does_not_have_are_data_loss"),
            (SOURCE, "records_of_a_leader_that_lacks_what_was_read_are_data_loss_however_long_its_log_is"),
            (SOURCE, "a_position_behind_the_end_is_data_loss_with_both_and_what_to_do"),
        ],
    ),
    promise(
        "values of CSV",
        "rows by the order of `schema`; a value that does not fit is a bad record (`onError`)",
        &[(
            "e2e/tests/kafka/csv.rs",
            "values_of_csv_are_rows_by_the_order_of_the_schema_and_others_do_what_on_error_says",
        )],
    ),
    promise(
        "a wrong password; a certificate that is untrusted or has expired, on either side",
        "stops, and says so without any secret",
        &[(SECURITY, "certificates_and_passwords_are_checked_by_both_sides")],
    ),
    promise(
        "a token for the log-in that is renewed before it expires",
        "is read again, and nothing stops",
        &[("e2e/tests/kafka/tokens.rs", "a_token_is_read_again_before_it_expires")],
    ),
    promise(
        "a token that has expired, or is none",
        "stops, and says so without the token",
        &[("e2e/tests/kafka/tokens.rs", "a_token_that_is_over_or_none_is_refused_and_never_told")],
    ),
    promise(
        "authorisation denied on one topic of two",
        "stops, and names that topic",
        &[(
            "e2e/tests/kafka/permissions.rs",
            "the_topic_of_two_that_a_user_may_not_use_is_named_and_the_permissions_of_the_guide_are_enough",
        )],
    ),
    promise(
        "a broker or an endpoint that is, or whose name leads to, an address beside the worker: link-local, a cloud's metadata \
         service, the API server, the pod itself",
        "stops, and names resource, host and address, and what to write where that is meant (`allowPrivateAddresses`)",
        &[
            (ADDRESSES, "a_broker_at_a_link_local_address_is_named_with_its_resource_and_what_to_write"),
            (ADDRESSES, "in_a_pod_a_name_that_leads_to_the_pod_itself_is_refused_and_so_is_the_api_server"),
            (ADDRESSES, "an_endpoint_at_the_metadata_service_is_refused_for_sources_sinks_and_state"),
            (CLIENT, "what_a_cluster_calls_its_brokers_is_refused_where_it_leads_to_the_pod_itself"),
            ("worker/objects/src/http.rs", "a_redirect_to_a_refused_address_is_not_followed"),
        ],
    ),
    promise(
        "a progress topic that was deleted",
        "reason `DataLoss`; never begins again by itself",
        &[
            (BAD, "a_progress_topic_that_was_deleted_stops_the_pipeline"),
            (BAD, "with_a_state_store_a_deleted_progress_topic_is_noticed_at_the_next_start"),
            (
                "e2e/tests/workers/progress.rs",
                "a_progress_topic_that_was_deleted_is_data_loss_for_workers_before_and_after_their_restart",
            ),
        ],
    ),
    promise(
        "a progress topic that is not compacted",
        "refused at the start, with the command that mends it; a warning where the user may not ask",
        &[
            (BAD, "a_progress_topic_that_is_not_compacted_is_refused_and_goes_on_once_it_is"),
            (
                "e2e/tests/kafka/permissions.rs",
                "the_topic_of_two_that_a_user_may_not_use_is_named_and_the_permissions_of_the_guide_are_enough",
            ),
        ],
    ),
    promise(
        "progress that was deleted from its topic, by retention or by somebody",
        "reason `DataLoss`; never begins again by itself",
        &[
            (BAD, "progress_that_retention_deleted_is_data_loss_until_somebody_starts_anew"),
            (CLIENT, "a_unit_whose_progress_was_deleted_is_data_loss_until_its_pipeline_starts_anew"),
        ],
    ),
    promise(
        "a process that died in a transaction of the progress topic",
        "holds up nobody who takes its units over",
        &[(CLIENT, "a_process_that_died_in_a_transaction_holds_up_nobody_who_takes_a_unit_over")],
    ),
    promise(
        "a transaction that the broker aborted",
        "its rows are sent again from memory",
        &[(CLIENT, "rows_of_a_transaction_that_the_broker_aborted_are_sent_again_and_show_once")],
    ),
    promise(
        "a row above `max.message.bytes`",
        "`onError` of the sink; reason `RowsRejected` where it is `Fail`",
        &[
            (REJECTED, "a_row_that_the_topic_does_not_take_fails_the_pipeline_with_its_size"),
            (REJECTED, "rows_that_the_topic_does_not_take_become_dead_letters_once_and_the_others_are_written"),
            (REJECTED, "windows_that_the_topic_does_not_take_become_dead_letters_and_dropped_ones_are_gone"),
        ],
    ),
];

/// Headings, what the first column holds, and the promises.
const TABLES: [(&str, &str, &[Promise]); 3] = [
    ("Sources", "Source", SOURCES),
    ("Sinks", "Sink", SINK_PROMISES),
    ("Bad input and faults of Kafka", "Fault", FAULTS),
];

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    let mut page = format!(
        "{GENERATED}\n# Guarantees\n\nEach line names the tests that would fail if it did not hold. `make test` runs those \
         of files, `make e2e` those of Kafka on real brokers, `make soak` all of it together for as long as you like.\n"
    );
    for (title, of, promises) in TABLES {
        let _ = write!(page, "\n## {title}\n\n| {of} | What holds | Proved by |\n|---|---|---|\n");
        for promise in promises {
            let test = |(file, name): &Test| format!("[`{name}`](../../{file})");
            let tests: Vec<_> = promise.proved_by.iter().map(test).collect();
            let _ = writeln!(page, "| {} | {} | {} |", cell(promise.of), cell(promise.holds), tests.join(", "));
        }
    }
    page
}

#[test]
fn the_reference_of_guarantees_is_that_of_the_tests() {
    assert_page("guarantees.md", &page());
}

#[test]
fn every_test_that_a_guarantee_names_is_there_and_runs() {
    for promise in TABLES.iter().flat_map(|(_, _, promises)| *promises) {
        for (file, name) in promise.proved_by {
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let place = text.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("{file} has no test {name}"));
            let before = &text[..place];
            let attributes = &before[before.rfind("\n\n").unwrap_or_default()..];
            assert!(
                attributes.contains("test") && !attributes.contains("#[ignore"),
                "{file}: {name} is no test that runs"
            );
        }
    }
}
