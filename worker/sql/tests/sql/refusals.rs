//! What is refused: by name, at its place, with what to write instead.

use std::fmt::Write as _;

use thalweg_sql::catalog::{Catalog, Unknown};
use thalweg_sql::{SqlProblem, plan};

use crate::support::{batch, bids, catalog, project};

const REFUSED: &[&str] = &[
    "",
    "SELECT auction FROM bid",
    "CREATE TABLE t (a INT)",
    "SET 'execution.checkpointing.interval' = '3min'",
    "COPY bid TO 'x.parquet'",
    "DROP VIEW v",
    "DELETE FROM out",
    "INSERT OVERWRITE out SELECT auction FROM bid",
    "INSERT INTO nowhere SELECT auction FROM bid",
    "INSERT INTO ou SELECT auction FROM bid",
    "INSERT INTO cat.db.out SELECT auction FROM bid",
    "INSERT INTO out SELECT auction FROM bids",
    "INSERT INTO out SELECT auction\nFROM bid\nWHERE prise > 3",
    "INSERT INTO out SELECT auction, datetime FROM bid",
    "INSERT INTO out SELECT b.nothing FROM bid AS b",
    "INSERT INTO out SELECT\n  UPER(channel) AS c\nFROM bid",
    "INSERT INTO out SELECT LOWER(channel, 3) AS c FROM bid",
    "INSERT INTO out SELECT LCASE(price) AS c FROM bid",
    "INSERT INTO out SELECT TRIM(price) AS c FROM bid",
    "INSERT INTO out SELECT GEOHASH(channel, 1, 2) AS c FROM bid",
    "INSERT INTO out SELECT auction FROM bid ORDER BY price",
    "INSERT INTO out SELECT auction FROM bid LIMIT 10",
    "INSERT INTO out SELECT count(*) AS n FROM bid",
    "INSERT INTO out SELECT auction, count(*) AS n FROM bid GROUP BY auction",
    "INSERT INTO out SELECT DISTINCT auction FROM bid",
    "INSERT INTO out SELECT auction FROM bid UNION SELECT id FROM plain",
    "INSERT INTO out SELECT auction FROM bid INTERSECT SELECT id FROM plain",
    "INSERT INTO out SELECT auction FROM bid EXCEPT SELECT id FROM plain",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN plain AS p ON b.auction = p.id",
    "INSERT INTO out SELECT b.auction FROM bid AS b RIGHT JOIN zones AS z ON b.auction = z.LocationID",
    "INSERT INTO out SELECT b.auction FROM bid AS b FULL JOIN zones AS z ON b.auction = z.LocationID",
    "INSERT INTO out SELECT b.auction FROM bid AS b CROSS JOIN zones AS z",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN zones AS z ON b.auction > z.LocationID",
    "CREATE TEMPORARY VIEW orders AS SELECT auction FROM orders; INSERT INTO out SELECT auction FROM orders",
    "INSERT INTO out SELECT b.auction FROM bid AS b, zones AS z WHERE b.auction = z.LocationID",
    "INSERT INTO out SELECT z.Zone FROM zones AS z",
    "INSERT INTO out SELECT p.id FROM bid AS b JOIN plain FOR SYSTEM_TIME AS OF b.dateTime AS p ON b.auction = p.id",
    "INSERT INTO out SELECT auction FROM bid WHERE auction IN (SELECT id FROM plain)",
    "INSERT INTO out SELECT auction FROM bid AS b WHERE EXISTS (SELECT id FROM plain WHERE id = b.auction)",
    "INSERT INTO out SELECT (SELECT max(id) FROM plain) AS m FROM bid",
    "INSERT INTO out SELECT ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price) AS n FROM bid",
    "INSERT INTO out SELECT auction, NOW() AS at FROM bid",
    "INSERT INTO out SELECT auction, CURRENT_TIMESTAMP AS at FROM bid",
    "INSERT INTO out SELECT auction, RAND() AS r, UUID() AS u FROM bid",
    "INSERT INTO out SELECT auction, PROCTIME() AS p FROM bid",
    "INSERT INTO out SELECT * FROM read_parquet('x')",
    "INSERT INTO out SELECT * FROM 'x.parquet'",
    "INSERT INTO out SELECT u FROM UNNEST(ARRAY[1, 2]) AS t (u)",
    "INSERT INTO out VALUES (1, 2)",
    "INSERT INTO out SELECT 1 AS x",
    "INSERT INTO out SELECT NULL AS x FROM bid",
    "INSERT INTO out SELECT dateTime - dateTime AS x FROM bid",
    "INSERT INTO out SELECT auction, auction FROM bid",
    "INSERT INTO out (a, b, c) SELECT auction, price FROM bid",
    "INSERT INTO keyed SELECT pickup_location_id AS Zone, pickup_at AS window_star FROM trips",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(price), INTERVAL '1' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(datetime), INTERVAL '1' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE plain, DESCRIPTOR(at), INTERVAL '1' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' MONTH)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime))) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '3' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY window_start",
    "INSERT INTO out SELECT auction, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY auction",
    "INSERT INTO out SELECT count(*) AS n FROM bid GROUP BY TUMBLE(dateTime, INTERVAL '1' DAY)",
    "INSERT INTO out SELECT max(window_end) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) WHERE dateTime > window_start + INTERVAL '1' HOUR GROUP BY window_start, window_end",
    "INSERT INTO out SELECT bidder, count(*) AS n FROM TABLE(SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) WHERE price > 3 GROUP BY window_start, window_end, bidder",
    "INSERT INTO out SELECT bidder, count(*) AS n FROM TABLE(SESSION(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY window_start, window_end, bidder",
    "INSERT INTO out SELECT window_start FROM TABLE(SESSION(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY))",
    "INSERT INTO out SELECT first_value(price ORDER BY bidder) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY CUBE (window_start, window_end)",
    "INSERT INTO out SELECT auction FROM bid WHERE",
    "INSERT INTO out SELECT auction FROM bid) x",
    "INSERT INTO out SELECT auction FROM bid WHERE channel = 'open",
    "INSERT INTO out SELECT auction FROM bid WHERE channel + 1 > TRUE",
    "INSERT INTO out SELECT TIMESTAMPDIFF('x', dateTime, dateTime) AS x FROM bid",
    // Several statements: each has its say, and a missing view is complained of once.
    "CREATE VIEW v AS SELECT nothing FROM bid;\nINSERT INTO out SELECT * FROM v;\nINSERT INTO nowhere SELECT auction FROM bid;\nINSERT INTO other SELECT RAND() AS r FROM bid ORDER BY r;\nINSERT INTO other SELECT auction FROM bid",
    "CREATE VIEW bid AS SELECT id FROM plain;\nINSERT INTO out SELECT * FROM bid",
    "INSERT INTO out SELECT window_start, count(DISTINCT auction, bidder) AS n FROM TABLE(TUMBLE(TABLE bid, \
     DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT window_start, avg(channel) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL \
     '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT window_start, ARRAY[price] AS k, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, \
     DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, ARRAY[price]",
    "INSERT INTO out SELECT REGEXP_EXTRACT(channel, '(a', 1) AS x FROM bid",
    "INSERT INTO out SELECT auction FROM bid WHERE channel SIMILAR TO '[a'",
    "INSERT INTO out SELECT auction FROM bid WHERE channel SIMILAR TO '(a'",
    "INSERT INTO out SELECT auction FROM bid WHERE channel SIMILAR TO '[a_]'",
    "INSERT INTO out SELECT auction FROM bid WHERE channel SIMILAR TO url",
    "INSERT INTO out SELECT auction FROM bid WHERE channel LIKE 'a!b' ESCAPE '!'",
    "INSERT INTO out SELECT auction FROM bid WHERE channel LIKE 'ab' ESCAPE '!!'",
    "INSERT INTO out SELECT auction FROM bid WHERE channel LIKE url ESCAPE '!'",
    "INSERT INTO out SELECT REGEXP_REPLACE(channel, 'a{2,1}', '') AS x FROM bid",
    "INSERT INTO out SELECT DATE_FORMAT(dateTime, 'yyyy-qq') AS x FROM bid",
    "INSERT INTO out SELECT TO_TIMESTAMP(channel, 'yyyy-qq') AS x FROM bid",
    "INSERT INTO out SELECT JSON_VALUE(extra, '$[') AS x FROM bid",
    "INSERT INTO out SELECT JSON_VALUE(extra, '$.a' DEFAULT 'b' ON EMPTY) AS x FROM bid",
    "INSERT INTO out SELECT JSON_OBJECT(price VALUE 1) AS x FROM bid",
    "INSERT INTO out SELECT JSON_OBJECT(1 VALUE price) AS x FROM bid",
    "INSERT INTO out SELECT price IS JSON AS x FROM bid",
    "INSERT INTO out SELECT MAP['a', price, 'b'] AS x FROM bid",
    "INSERT INTO out SELECT SHA2(channel, 1) AS x FROM bid",
    "INSERT INTO out SELECT CONVERT_TZ(channel, 'UTC', 'Nowhere') AS x FROM bid",
    "INSERT INTO out SELECT 12345678901234567890123456789012345678901 AS x FROM bid",
    "INSERT INTO out SELECT TIMESTAMPADD(YEAR, 2147483647, dateTime) AS x FROM bid",
    "INSERT INTO out SELECT Auction AS x FROM bid",
    "INSERT INTO out SELECT nope.bid.price AS x FROM bid",
    "INSERT INTO out SELECT price.x AS x FROM bid",
    "INSERT INTO out SELECT JSON_OBJECT('a' VALUE 1, 'a' VALUE 2) AS x FROM bid",
    "INSERT INTO out SELECT JSON_STRING(MAP[1, 'x']) AS x FROM bid",
    "INSERT INTO out SELECT MAP['a', price, 'b', channel] AS x FROM bid",
    "INSERT INTO out SELECT CAST(price AS DECIMAL(39, 0)) AS x FROM bid",
    "INSERT INTO out SELECT CAST(price AS INTT) AS x FROM bid",
    "INSERT INTO out SELECT 1e400 AS x FROM bid",
    "INSERT INTO out SELECT ENCODE(channel, 'UTF-8') AS x FROM bid",
    "INSERT INTO out SELECT 9223372036854775807 + 1 AS x FROM bid",
    "INSERT INTO out SELECT price + 4611686018427387904 * 2 AS x FROM bid",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN zones AS z ON b.channel = z.LocationID",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN zones AS z ON b.auction = z.Zone",
    "INSERT INTO out SELECT FOO(channel) AS x FROM bid",
    "INSERT INTO out SELECT price / 0 AS x FROM bid",
    "INSERT INTO out SELECT price AS x FROM bid UNION ALL SELECT channel FROM bid",
    "INSERT INTO out SELECT channel, window_end, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL \
     '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT 1.5 / 0 AS x FROM bid",
    "INSERT INTO out SELECT CAST(price AS TIMESTAMP(3)) AS x FROM bid",
    "INSERT INTO out SELECT TRY_CAST(dateTime AS BIGINT) AS x FROM bid",
    "INSERT INTO out SELECT dateTime + INTERVAL '1 02:03:04' DAY TO SECOND AS x FROM bid",
    "INSERT INTO out SELECT auction FROM bid WHERE channel RLIKE 'a'",
    "INSERT INTO out SELECT ROUND(price, 99) AS x FROM bid",
    "INSERT INTO out SELECT ROW(price) AS x FROM bid",
    "INSERT INTO out SELECT auction, price AS auction FROM bid",
    "INSERT INTO out SELECT auction FROM bid; INSERT INTO out SELECT channel FROM bid",
    "INSERT INTO out SELECT sum(channel) AS x, window_end FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL \
     '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT stddev_pop(channel) AS x, window_end FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), \
     INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT count(*) FILTER (WHERE price) AS x, window_end FROM TABLE(TUMBLE(TABLE bid, \
     DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
    "INSERT INTO out SELECT xyzzyq FROM bid",
    "INSERT INTO out SELECT CONCAT() AS x FROM bid",
    "INSERT INTO out SELECT LOCATE('a') AS x FROM bid",
    "INSERT INTO out SELECT INSTR(channel, 'a', 2) AS x FROM bid",
    "INSERT INTO out SELECT CAST(channel AS VARCHAR(0)) AS x FROM bid",
    // At the word, wherever it stands.
    "INSERT INTO out SELECT k,\n  r.X AS y\nFROM orders",
    "INSERT INTO out SELECT k,\n  r.orders.z AS y\nFROM orders",
    "INSERT INTO out SELECT k,\n  items.sku AS y\nFROM orders",
    "INSERT INTO out SELECT k,\n  UPPER(k) AS u,\n  ABS(2 * (x + UPPER(x))) AS y\nFROM orders",
    "INSERT INTO out SELECT *\nFROM (\n  SELECT k,\n    r.z AS y FROM orders) AS o",
    "INSERT INTO out WITH a AS (SELECT k FROM orders), b AS (\n  SELECT a.k, a.k + TRUE AS y FROM a)\nSELECT * FROM b",
    "INSERT INTO out SELECT k FROM orders\nWHERE k = 'a' AND\n  (x = 1 OR x + k > TRUE)",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN zones AS z\nON b.auction = z.LocationID AND\n  b.channel + 1 > TRUE",
    "INSERT INTO out SELECT window_end, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' \
     SECOND)) GROUP BY window_start, window_end\nHAVING count(*) > 1 AND\n  count(*) + TRUE > 2",
    "INSERT INTO out SELECT window_end, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' \
     SECOND))\nGROUP BY window_start, window_end,\n  MAP['a', price]",
    "INSERT INTO out SELECT window_end, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' \
     SECOND))\nGROUP BY window_start, window_end,\n  named_struct('a', price)",
    "INSERT INTO out SELECT DISTINCT window_start, window_end,\n  ARRAY[price] AS y\nFROM TABLE(TUMBLE(TABLE bid, \
     DESCRIPTOR(dateTime), INTERVAL '1' SECOND))",
    "INSERT INTO out SELECT auction FROM bid\nUNION ALL SELECT bidder FROM bid\nUNION ALL SELECT\n  CONCAT(channel, 'a') FROM bid",
    "INSERT INTO out SELECT auction,\n  CASE WHEN price > 1 THEN NULL END AS x\nFROM bid",
    "CREATE VIEW v AS SELECT k,\n  k + TRUE AS y FROM orders;\nINSERT INTO out SELECT * FROM v",
    "INSERT INTO out SELECT auction, JSON_OBJECTAGG(KEY channel VALUE price) AS x FROM bid",
    "INSERT INTO out SELECT auction, JSON_ARRAYAGG(price ABSENT ON NULL) AS x FROM bid",
    // In our words, not in the planner's.
    "INSERT INTO out SELECT auction FROM bid WHERE price = 'abc'",
    "INSERT INTO out SELECT auction FROM bid WHERE dateTime > '2024-13-01 00:00:00'",
    "INSERT INTO out SELECT CAST('2024-01-01 25:00:00' AS TIMESTAMP(3)) AS x FROM bid",
    "INSERT INTO out SELECT DATE '2024-02-30' AS x FROM bid",
    "INSERT INTO out SELECT COALESCE(price, 'none') AS x FROM bid",
    "INSERT INTO out SELECT auction FROM bid WHERE price IN ('a', 2)",
    "INSERT INTO out SELECT auction FROM bid WHERE dateTime BETWEEN 1 AND 2",
    "INSERT INTO out SELECT auction FROM bid WHERE auction",
    "INSERT INTO out SELECT auction FROM bid WHERE channel = \"Y\"",
    "INSERT INTO out SELECT -channel AS x, NOT price AS y FROM bid",
    "INSERT INTO out SELECT IF(price, 1, 2) AS x FROM bid",
    "INSERT INTO out SELECT m[1] AS x FROM orders",
    "INSERT INTO out SELECT SUBSTRING(price, 1, 2) AS x FROM bid",
    "INSERT INTO out SELECT auction FROM bid HAVING auction > 1",
    "INSERT INTO out (x, x) SELECT auction, price FROM bid",
    "INSERT INTO out SELECT JSON_QUERY(extra, '$.a' WITH ARRAY WRAPPER) AS x FROM bid",
    "WITH v AS (SELECT auction FROM bid) INSERT INTO out SELECT auction FROM v",
    "INSERT INTO out SELECT CAST(channel AS BYTES) AS x FROM bid",
    "INSERT INTO out SELECT b.auction FROM bid AS b JOIN zones AS z USING (LocationID)",
    "INSERT INTO out SELECT auction AS `` FROM bid",
    "INSERT INTO out SELECT FOO(auction) AS x FROM bids",
    "INSERT INTO out WITH a AS (SELECT auction FROM bid) SELECT FOO(auction) AS x FROM a",
    "INSERT INTO out SELECT * FROM bid AS a JOIN bid AS b ON a.auction = b.auction",
    // A hint asks for something: it is no comment.
    "INSERT INTO out SELECT auction\nFROM bid /*+ OPTIONS('scan.startup.mode' = 'latest-offset') */",
    "INSERT INTO out SELECT /*+ BROADCAST(z) */ b.auction FROM bid AS b JOIN zones AS z ON b.auction = z.LocationID",
];

#[test]
fn each_is_refused_at_its_place_with_what_to_write_instead() {
    let catalog = catalog();
    let mut shown = String::new();
    for sql in REFUSED {
        let problems = plan(sql, &catalog).err().unwrap_or_default();
        let _ = writeln!(shown, "{sql}");
        let accepted = if problems.is_empty() { "    ACCEPTED\n" } else { "" };
        shown.push_str(accepted);
        for SqlProblem { line, column, message, help } in problems {
            let _ = writeln!(shown, "    {line}:{column} {message}");
            help.iter().for_each(|help| {
                let _ = writeln!(shown, "        {help}");
            });
        }
        shown.push('\n');
    }
    assert!(!shown.contains("ACCEPTED"), "{shown}");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(shown);
    });
}

/// What is told of a text over the catalog and `lost` and `gone`, of which nothing is known.
fn told_without(others: bool, sql: &str) -> Vec<String> {
    let names = ["lost", "gone"].map(str::to_owned).into();
    let catalog = Catalog { unknown: Unknown { names, others }, ..catalog() };
    let problems = plan(sql, &catalog).expect_err("there is no plan of what is not known whole");
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn what_is_wrong_whatever_unknown_tables_are_is_told_and_nothing_else() {
    let window = "TABLE(TUMBLE(TABLE lost, DESCRIPTOR(at), INTERVAL '1' MINUTE))";
    for sql in [
        "INSERT INTO out SELECT auction FROM bid",
        "INSERT INTO gone SELECT auction FROM bid",
        "INSERT INTO out SELECT nothing FROM lost",
        "INSERT INTO out SELECT b.auction FROM bid AS b JOIN lost AS l ON b.auction = l.x",
        "INSERT INTO out SELECT b.auction FROM bid AS b JOIN lost FOR SYSTEM_TIME AS OF b.dateTime AS l ON b.auction = l.x",
        "INSERT INTO out WITH a AS (SELECT x FROM lost) SELECT nothing FROM a",
        "CREATE VIEW v AS SELECT x FROM lost; CREATE VIEW w AS SELECT x FROM v; INSERT INTO out SELECT nothing FROM w",
        &format!("INSERT INTO out SELECT window_start, COUNT(*) AS n FROM {window} GROUP BY window_start, window_end"),
    ] {
        assert_eq!(told_without(false, sql), Vec::<String>::new(), "{sql}");
    }
    for (sql, start) in [
        ("INSERT INTO out SELECT x FROM lost; INSERT INTO gone SELECT nothing FROM bid", "column `nothing` not found"),
        ("INSERT INTO out SELECT x FROM lost ORDER BY x", "ORDER BY"),
        ("INSERT INTO out SELECT x FROM los", "there is no source or view `los`"),
        ("INSERT INTO nowhere SELECT x FROM lost", "there is no sink `nowhere`"),
        ("SELECT x FROM lost", ""),
    ] {
        let told = told_without(false, sql);
        assert!(told.len() == 1 && told[0].starts_with(start), "{sql}: {told:?}");
    }
    assert_eq!(told_without(true, "INSERT INTO nowhere SELECT x FROM los"), Vec::<String>::new());
    assert_eq!(told_without(true, "INSERT INTO out SELECT nothing FROM bid").len(), 1);
}

#[test]
fn large_and_deep_texts_are_refused_and_never_overflow_a_stack() {
    let catalog = catalog();
    let insert = |expr: String| format!("INSERT INTO out SELECT {expr} AS x FROM bid");
    let texts = [
        insert(format!("'{}'", "x".repeat(70_000))),
        insert(format!("price{}", " + 1".repeat(15_000))),
        insert(format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000))),
        insert(format!("{}1", "-".repeat(30_000).replace("--", "- "))),
        insert(format!("{}TRUE", "NOT ".repeat(15_000))),
        insert(format!("price{}", " IS NULL".repeat(7_000))),
        insert(format!("{}1{}", "CASE WHEN TRUE THEN ".repeat(2_000), " END".repeat(2_000))),
        insert(format!("{}1{}", "ABS(".repeat(10_000), ")".repeat(10_000))),
        insert(format!("price{}", "::BIGINT".repeat(7_000))),
        format!("INSERT INTO out SELECT auction FROM bid{}", " UNION ALL SELECT auction FROM bid".repeat(1_500)),
        format!("INSERT INTO out SELECT * FROM {}bid{}", "(SELECT * FROM ".repeat(2_000), ")".repeat(2_000)),
    ];
    for text in texts {
        let start = text.chars().take(60).collect::<String>();
        let problems = plan(&text, &catalog).err().unwrap_or_default();
        assert!(!problems.is_empty(), "{start}");
    }
}

#[test]
fn nesting_at_which_the_parser_would_try_every_way_is_refused_at_once() {
    for depth in [51, 58, 60, 70] {
        let nested = format!("{}price{}", "CAST(".repeat(depth), " AS BIGINT)".repeat(depth));
        let problems =
            plan(&format!("INSERT INTO out SELECT {nested} AS x FROM bid"), &catalog()).err().unwrap_or_default();
        assert_eq!(problems.len(), 1, "{depth}: {problems:#?}");
        assert_eq!(problems[0].message, "nested deeper than 50 levels");
    }
}

#[test]
fn views_that_double_are_refused() {
    let mut sql = "CREATE VIEW v0 AS SELECT auction FROM bid;".to_owned();
    for level in 1..40 {
        let below = level - 1;
        let _ = write!(sql, "CREATE VIEW v{level} AS SELECT * FROM v{below} UNION ALL SELECT * FROM v{below};");
    }
    let problems = plan(&format!("{sql} INSERT INTO out SELECT * FROM v39"), &catalog()).err().unwrap_or_default();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].message.contains("nodes"), "{problems:#?}");
}

#[test]
fn windows_so_long_that_their_ends_would_be_no_times_are_refused() {
    let planned = |call: &str| {
        let sql = format!("INSERT INTO out SELECT auction, window_end FROM TABLE({call})");
        plan(&sql, &catalog()).map(drop)
    };
    let tumble = |size: &str| format!("TUMBLE(TABLE bid, DESCRIPTOR(dateTime), {size})");
    assert_eq!(planned(&tumble("INTERVAL '3660000' DAY")), Ok(()));
    for wrong in [
        tumble("INTERVAL '106751991167' DAY"),
        tumble("INTERVAL '3660001' DAY"),
        tumble("INTERVAL '1' SECOND, INTERVAL '-3660001' DAY"),
        "HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '3660001' DAY, INTERVAL '3660001' DAY)".to_owned(),
    ] {
        let problems = planned(&wrong).expect_err("too long");
        assert!(problems[0].message.ends_with("is longer than 10000 years"), "{wrong}: {problems:#?}");
    }
}

#[test]
fn what_the_limits_allow_is_planned_and_runs_on_an_ordinary_stack() {
    let chain = |operand: &str, times: usize| format!("({operand}{})", format!(" + {operand}").repeat(times));
    let expressions = [
        chain("price", 150),
        chain(&chain("price", 60), 60),
        format!("{}price{}", "CASE WHEN price > 1 THEN ".repeat(20), " END".repeat(20)),
        format!("{}price{}", "ABS(".repeat(20), ")".repeat(20)),
    ];
    for expression in expressions {
        let planned = plan(&format!("INSERT INTO out SELECT {expression} AS x FROM bid"), &catalog());
        let planned = planned.unwrap_or_else(|problems| panic!("{expression}\n{problems:#?}"));
        let input = &planned.stages[0].inputs[0];
        let rows = project(&batch(&bids(), r#"{"price":1}"#), &input.columns);
        assert_eq!(input.transform.apply(&rows).batch.num_rows(), 1, "{expression}");
    }
}

#[test]
fn plans_can_go_to_other_threads() {
    fn goes<T: Send + Sync>() {}
    goes::<thalweg_sql::stages::PlannedPipeline>();
}
