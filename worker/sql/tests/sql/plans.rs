//! Plans as `thalweg explain` shows them.

use thalweg_sql::fingerprint::whole;
use thalweg_sql::{explain, plan};

use crate::support::catalog;

macro_rules! plans {
    ($($name:ident: $sql:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let planned = plan($sql, &catalog()).unwrap_or_else(|problems| panic!("{problems:#?}"));
                let shown = format!("{}\n\n{}", $sql.trim(), explain(&planned));
                insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                    insta::assert_snapshot!(shown);
                });
            }
        )*
    };
}

plans! {
    a_projection_reads_its_columns_only: "INSERT INTO out SELECT auction, price FROM bid WHERE channel = 'Google'";
    all_columns_pass: "INSERT INTO out SELECT * FROM bid";
    a_tumbling_count_reads_event_time_only: "
        INSERT INTO out
        SELECT window_start, window_end, count(*) AS bids
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end";
    named_arguments_and_no_outer_table: "
        INSERT INTO out
        SELECT auction, max(price) AS price, window_time
        FROM HOP(DATA => TABLE bid, TIMECOL => DESCRIPTOR(`dateTime`), SLIDE => INTERVAL '2' SECONDS, SIZE => INTERVAL '10' SECONDS) AS w
        WHERE w.price > 100
        GROUP BY w.auction, window_start, window_end, window_time";
    a_session_by_key: "
        INSERT INTO out
        SELECT bidder, count(*) AS bids, window_start, window_end
        FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
        GROUP BY bidder, window_start, window_end";
    cumulate_with_an_offset: "
        INSERT INTO out
        SELECT window_end, sum(price) AS total
        FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' HOUR, INTERVAL '1' DAY, INTERVAL '-8' HOUR))
        GROUP BY window_start, window_end";
    the_hottest_auction_is_two_stages: "
        INSERT INTO out
        SELECT window_start, window_end, max(num) AS num
        FROM (
            SELECT auction, count(*) AS num, window_start, window_end
            FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
            GROUP BY auction, window_start, window_end)
        GROUP BY window_start, window_end";
    aggregates_of_a_value_and_of_its_casts: "
        INSERT INTO out
        SELECT window_start, price / 2 AS half, avg(auction) AS a, avg(CAST(auction AS DOUBLE)) AS b,
               max(CAST(auction AS INT)) AS c, count(DISTINCT channel) AS d, count(DISTINCT TRY_CAST(channel AS BIGINT)) AS e
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end, price / 2, CAST(price AS DOUBLE) / 2
        HAVING max(auction) < max(CAST(auction AS DOUBLE)) + 1";
    a_window_of_a_windowed_view: "
        CREATE TEMPORARY VIEW five AS
        SELECT window_time AS rowtime, bidder, sum(price) AS part
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '5' MINUTES))
        GROUP BY bidder, window_start, window_end, window_time;
        INSERT INTO out
        SELECT window_start, window_end, sum(part) AS total, first_value(bidder) AS who
        FROM TABLE(TUMBLE(TABLE five, DESCRIPTOR(rowtime), INTERVAL '10' MINUTES))
        WHERE part > 3
        GROUP BY window_start, window_end";
    every_aggregate: "
        INSERT INTO out
        SELECT auction, count(price) AS a, count(DISTINCT bidder) AS b, sum(price) AS c, avg(price) AS d, min(url) AS e,
            max(price) AS f, first_value(channel) AS g, last_value(channel) AS h, stddev(price) AS i,
            stddev_pop(price) AS j, stddev_samp(price) AS k, var_pop(price) AS l, var_samp(price) AS m,
            count(*) FILTER (WHERE price > 100) AS n
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end, auction
        HAVING count(*) > 1";
    keys_and_window_expressions: "
        INSERT INTO keyed
        SELECT geohash(pickup_latitude, pickup_longitude, 7) AS zone, count(*) AS pickups, window_start,
            DATE_FORMAT(window_end, 'HH:mm') AS at
        FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '1' HOUR))
        WHERE pickup_latitude BETWEEN 40.560 AND 40.878 AND window_start > TIMESTAMP '2018-01-01 00:00:00'
        GROUP BY geohash(pickup_latitude, pickup_longitude, 7), window_start, window_end";
    boroughs_through_a_lookup_table: "
        INSERT INTO out
        SELECT borough, count(*) AS trips, window_end
        FROM (
            SELECT COALESCE(z.Borough, 'Unknown') AS borough, window_start, window_end
            FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '5' SECOND)) AS t
            LEFT JOIN zones FOR SYSTEM_TIME AS OF t.pickup_at AS z ON t.pickup_location_id = z.LocationID)
        GROUP BY borough, window_start, window_end";
    a_lookup_in_a_view_before_the_window: "
        CREATE VIEW v AS SELECT t.pickup_at, z.Zone FROM trips AS t JOIN zones AS z ON t.pickup_location_id = z.LocationID;
        INSERT INTO out SELECT Zone, count(*) AS n FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(pickup_at), INTERVAL '1' MINUTE))
        GROUP BY Zone, window_start, window_end";
    union_all_has_several_inputs: "
        INSERT INTO out
        SELECT auction AS id, 'bid' AS kind FROM bid WHERE price > 10
        UNION ALL
        SELECT id, text FROM plain";
    a_window_of_a_union: "
        CREATE VIEW both AS
        SELECT dateTime AS ts, auction AS id FROM bid UNION ALL SELECT pickup_at, trip_id FROM trips;
        INSERT INTO out SELECT id, count(*) AS n FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
        GROUP BY id, window_start, window_end";
    windows_without_groups: "
        INSERT INTO out SELECT auction, window_start, window_end
        FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '5' SECOND, INTERVAL '10' SECOND))";
    distinct_in_a_window: "
        INSERT INTO out SELECT DISTINCT window_start, window_end, bidder
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))";
    a_statement_set: "
        EXECUTE STATEMENT SET BEGIN
        INSERT INTO out SELECT auction FROM bid;
        INSERT INTO other (id, message) WITH p AS (SELECT id, UPPER(text) AS t FROM plain) SELECT id, t FROM p; -- a comment
        END;";
    a_begin_statement_set: "
        BEGIN STATEMENT SET;
        INSERT INTO out SELECT auction, price * 2 FROM bid;
        END;";
    a_window_of_a_subquery_in_its_argument: "
        INSERT INTO out SELECT count(*) AS n
        FROM TABLE(TUMBLE((SELECT dateTime FROM bid WHERE price > 3), DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end";
}

#[test]
fn fingerprints_change_with_what_shapes_state_and_with_nothing_else() {
    let fingerprint = |sql: &str| {
        let planned = plan(sql, &catalog()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        planned.stages[0].fingerprint.clone()
    };
    let tumble = |size: &str, select: &str, rest: &str| {
        fingerprint(&format!(
            "INSERT INTO out SELECT {select} FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '{size}' SECOND)) {rest}"
        ))
    };
    let groups = "GROUP BY window_start, window_end, auction";
    let base = tumble("10", "auction, count(*) AS n", groups);
    assert_eq!(base, tumble("10", "auction, count(*) AS n", &format!("{groups} -- a comment")));
    assert_eq!(base, tumble("10", "auction, count(*) AS n", &format!("{groups} HAVING count(*) > 1")));
    assert_ne!(base, tumble("20", "auction, count(*) AS n", groups));
    assert_ne!(base, tumble("10", "auction, sum(price) AS n", groups));
    assert_ne!(base, tumble("10", "auction, count(*) AS n", &format!("WHERE price > 1 {groups}")));
    assert_ne!(base, tumble("10", "count(*) AS n", "GROUP BY window_start, window_end"));
    let filtered = |price: u32| fingerprint(&format!("INSERT INTO out SELECT auction FROM bid WHERE price > {price}"));
    assert_eq!(filtered(1), filtered(2));
}

/// The hashes of all that statements do.
fn wholes(sql: &str) -> Vec<String> {
    let planned = plan(sql, &catalog()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    planned.statements().map(|(_, stages)| whole(stages)).collect()
}

#[test]
fn a_statement_is_the_same_however_it_is_written_and_wherever_it_stands() {
    const PEAK: &str = "INSERT INTO out SELECT window_start, max(num) AS num FROM (
        SELECT auction, count(*) AS num, window_start, window_end
        FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND))
        GROUP BY auction, window_start, window_end) GROUP BY window_start, window_end";
    const COPY: &str = "INSERT INTO other SELECT auction FROM bid WHERE price = 1";
    let (first, second) = (wholes(&format!("{COPY}; {PEAK}")), wholes(&format!("{PEAK};\n -- again\n{COPY}")));
    assert_eq!([&first[0], &first[1]], [&second[1], &second[0]]);
    // What has been kept is told by them: where they become others, the version in front has to.
    insta::assert_snapshot!(first.join("\n"));
}

#[test]
fn whatever_a_statement_does_makes_it_another_one() {
    let of = |sql: &str| wholes(sql).remove(0);
    let filter = |filter: &str| of(&format!("INSERT INTO out SELECT auction FROM bid WHERE {filter}"));
    assert_ne!(filter("price = 1"), filter("price = 2"));
    assert_ne!(filter("channel = '1'"), filter("channel = 'x'"));
    assert_ne!(
        of("INSERT INTO out SELECT price + 1 AS p FROM bid"),
        of("INSERT INTO out SELECT price + 2 AS p FROM bid")
    );
    let having = |having: &str| {
        of(&format!(
            "INSERT INTO out SELECT auction, count(*) AS bids
             FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND))
             GROUP BY auction, window_start, window_end HAVING {having}"
        ))
    };
    assert_ne!(having("count(*) > 1"), having("count(*) > 2"));
}
