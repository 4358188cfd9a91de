//! SQL of strangers: refused within limits of size, depth and time.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{FIRST, Pipeline};
use crate::command::{Workplace, text};

/// What a refusal may take at the most.
const LIMIT: Duration = Duration::from_secs(5);

/// The one problem with a text.
fn refused(sql: &str) -> Value {
    let place = Workplace::new();
    place.write("data/a.json", FIRST);
    Pipeline { sql: sql.to_owned(), ..Pipeline::new("Fail") }.write(&place);
    let started = Instant::now();
    let output = place.run(&["run", "p.yaml", "-o", "json"]);
    let took = started.elapsed();
    let start: String = sql.chars().take(60).collect();
    assert_eq!(output.status.code(), Some(2), "{start}: {}", text(&output.stderr));
    assert!(took < LIMIT, "{start} took {took:?}");
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    let mut told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = told["problems"].as_array_mut().expect("problems");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((&problems[0]["file"], &problems[0]["path"]), (&"p.yaml".into(), &"spec.sql".into()));
    assert!(!place.path("out").exists(), "nothing was run");
    problems.remove(0)
}

fn nested(open: &str, close: &str, times: usize) -> String {
    format!("INSERT INTO out SELECT {}id{} AS id FROM trips", open.repeat(times), close.repeat(times))
}

#[test]
fn a_text_over_64_kib() {
    let list: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    let sql = format!("INSERT INTO out SELECT id FROM trips WHERE id IN ({})", list.join(","));
    let message = format!("the text has {} characters; the limit is 65536", sql.len());
    assert_eq!(refused(&sql)["message"], message);
}

#[test]
fn deep_expressions_and_queries() {
    let chain: Vec<_> = (0..2_000).map(|n| format!("id = {n}")).collect();
    let deep = "the expression is deeper than 200 levels";
    let nesting = "nested deeper than 50 levels";
    let doubling = "COALESCE, IFNULL, GREATEST and LEAST nested deeper than 10 levels";
    for (sql, message) in [
        (format!("INSERT INTO out SELECT id FROM trips WHERE {}", chain.join(" OR ")), deep),
        (format!("INSERT INTO out SELECT id FROM trips WHERE {}TRUE", "NOT ".repeat(5_000)), deep),
        (nested("- ", "", 5_000), deep),
        (nested("CASE WHEN TRUE THEN ", " END", 2_000), deep),
        (nested("(", ")", 5_000), nesting),
        (nested("ABS(", ")", 5_000), nesting),
        (nested("CAST(", " AS BIGINT)", 60), nesting),
        (nested("ARRAY[", "]", 3_000), nesting),
        (nested("COALESCE(", ", 1)", 40), doubling),
        (
            format!("INSERT INTO out SELECT id FROM {}trips{}", "(SELECT id FROM ".repeat(1_000), ")".repeat(1_000)),
            nesting,
        ),
    ] {
        let problem = refused(&sql);
        assert_eq!(problem["message"], message, "{}", &sql[..80]);
        assert!(problem["help"].is_string(), "{problem}");
    }
}

#[test]
fn plans_that_double() {
    let unions = format!("INSERT INTO out {}", ["SELECT id FROM trips"; 1_500].join(" UNION ALL "));
    assert_eq!(refused(&unions)["message"], "more than 100 joins and unions in one text");
    let mut views = "CREATE TEMPORARY VIEW v0 AS SELECT id FROM trips;".to_owned();
    for level in 1..25 {
        let below = level - 1;
        views.push_str(&format!(
            "CREATE TEMPORARY VIEW v{level} AS SELECT id FROM v{below} UNION ALL SELECT id FROM v{below};"
        ));
    }
    let problem = refused(&format!("{views}INSERT INTO out SELECT id FROM v24"));
    assert_eq!(problem["message"], "the plan has 2001 nodes, the limit is 2000");
}
