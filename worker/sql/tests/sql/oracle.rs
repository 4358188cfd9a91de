//! Random statements over random rows: our transforms give what DataFusion's batch engine gives.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_sql::plan;

use crate::support::{batch, bids, catalog, lines, project};

const STATEMENTS: u64 = 150;
const ROWS: usize = 200;

fn rows(rng: &mut ChaCha8Rng) -> RecordBatch {
    let mut text = String::new();
    for _ in 0..ROWS {
        let channel = ["Google", "Apple", "", "Bäidu"].choose(rng).copied().unwrap_or_default();
        let price = if rng.random_bool(0.1) { "null".to_owned() } else { rng.random_range(-5..1_000).to_string() };
        let (auction, bidder) = (rng.random_range(0..20), rng.random_range(0..20));
        let at = rng.random_range(0..100_000);
        let _ = writeln!(
            text,
            r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"https://x/{bidder}","dateTime":{at}}}"#
        );
    }
    batch(&bids(), &text)
}

fn number(rng: &mut ChaCha8Rng, depth: u32) -> String {
    if depth == 0 {
        return match rng.random_range(0..5) {
            0 => rng.random_range(1..50).to_string(),
            1 => "1.5".to_owned(),
            2 => "auction".to_owned(),
            3 => "bidder".to_owned(),
            _ => "price".to_owned(),
        };
    }
    let (left, right) = (number(rng, depth - 1), number(rng, depth - 1));
    match rng.random_range(0..6) {
        0 => format!("({left} + {right})"),
        1 => format!("({left} - {right})"),
        2 => format!("({left} * 2)"),
        3 => format!("CASE WHEN {} THEN {left} ELSE {right} END", condition(rng, depth - 1)),
        4 => format!("COALESCE({left}, {right})"),
        _ => format!("NULLIF({left}, {right})"),
    }
}

fn text(rng: &mut ChaCha8Rng, depth: u32) -> String {
    if depth == 0 {
        return ["channel", "url", "extra", "'x'"].choose(rng).map_or_else(String::new, |&text| text.to_owned());
    }
    let inner = text(rng, depth - 1);
    match rng.random_range(0..6) {
        0 => format!("UPPER({inner})"),
        1 => format!("({inner} || {})", text(rng, depth - 1)),
        2 => format!("SUBSTRING({inner} FROM 2 FOR 3)"),
        3 => format!("REPLACE({inner}, 'o', '0')"),
        4 => format!("TRIM(LEADING 'h' FROM {inner})"),
        _ => format!("CASE WHEN {} THEN {inner} END", condition(rng, depth - 1)),
    }
}

fn condition(rng: &mut ChaCha8Rng, depth: u32) -> String {
    match rng.random_range(0..7) {
        0 if depth > 0 => format!("({} AND {})", condition(rng, depth - 1), condition(rng, depth - 1)),
        1 if depth > 0 => format!("({} OR {})", condition(rng, depth - 1), condition(rng, depth - 1)),
        2 if depth > 0 => format!("(NOT {})", condition(rng, depth - 1)),
        3 => format!("{} IN (1, 2, 3, 5, 8)", number(rng, 0)),
        4 => format!("{} IS NULL", number(rng, 0)),
        5 => format!("{} LIKE '%o%'", text(rng, 0)),
        _ => format!("{} > {}", number(rng, depth.min(1)), number(rng, depth.min(1))),
    }
}

fn statement(rng: &mut ChaCha8Rng) -> String {
    let (a, b, c) = (number(rng, 2), text(rng, 2), condition(rng, 2));
    let (filter, outer) = (condition(rng, 2), condition(rng, 0));
    match rng.random_range(0..3) {
        0 => format!("SELECT {a} AS a, {b} AS b, {c} AS c FROM bid WHERE {filter}"),
        1 => {
            format!("SELECT a, b, price FROM (SELECT {a} AS a, {b} AS b, * FROM bid WHERE {filter}) AS x WHERE {outer}")
        }
        _ => format!(
            "SELECT {a} AS a, {b} AS b FROM bid WHERE {filter} UNION ALL SELECT {a}, {b} FROM bid WHERE {outer}"
        ),
    }
}

async fn expected(sql: &str, rows: &RecordBatch) -> Vec<String> {
    let mut config = SessionConfig::new();
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.parse_float_as_decimal = true;
    parser.map_string_types_to_utf8view = false;
    let context = SessionContext::new_with_config(config);
    let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).expect("a table");
    context.register_table("bid", Arc::new(table)).expect("a table");
    let batches = context.sql(sql).await.expect("a plan").collect().await.expect("rows");
    sorted(&batches)
}

fn found(sql: &str, rows: &RecordBatch, size: usize) -> Vec<String> {
    let planned =
        plan(&format!("INSERT INTO out {sql}"), &catalog()).unwrap_or_else(|problems| panic!("{sql}\n{problems:#?}"));
    let mut batches = vec![];
    for input in planned.stages.iter().flat_map(|stage| &stage.inputs) {
        let rows = project(rows, &input.columns);
        for from in (0..rows.num_rows()).step_by(size) {
            let done = input.transform.apply(&rows.slice(from, size.min(rows.num_rows() - from)));
            assert!(done.failed.is_empty(), "{sql}\n{:?}", done.failed);
            batches.push(done.batch);
        }
    }
    sorted(&batches)
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> =
        batches.iter().flat_map(|batch| lines(batch).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn random_statements_give_the_rows_of_a_batch_engine_whatever_the_batch() {
    for seed in 0..STATEMENTS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rows = rows(&mut rng);
        let sql = statement(&mut rng);
        let expected = expected(&sql, &rows).await;
        for size in [1, 64, ROWS] {
            assert_eq!(found(&sql, &rows, size), expected, "seed {seed}, batches of {size}: {sql}");
        }
    }
}
