use std::collections::BTreeSet;

use arrow::datatypes::TimeUnit;
use serde_json::Value as Json;

use super::*;
use crate::generator::testing::{assert_text_equals_columns, fingerprint, lines};

fn column(name: &str, data_type: DataType) -> GeneratedColumn {
    GeneratedColumn::new(name, data_type).expect("a type that values are made for")
}

fn every_type() -> SchemaRows {
    let columns = vec![
        column("id", DataType::Int64),
        column("small", DataType::Int8),
        column("price", DataType::Float64),
        column("fare", DataType::Decimal128(10, 2)),
        column("whole", DataType::Decimal128(4, 0)),
        column("a \"name\"", DataType::Utf8),
        column("flag", DataType::Boolean),
        column("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        column("day", DataType::Date32),
    ];
    SchemaRows::new(columns, 42).expect("valid")
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_build() {
    assert_eq!(fingerprint(&every_type(), 5_000), 2_149_129_972_148_104_382);
}

#[test]
fn the_text_and_the_columns_hold_the_same_values() {
    assert_text_equals_columns(&every_type(), 12_345, 1_000);
}

#[test]
fn texts_have_the_cardinality_asked_for_and_whole_numbers_cycle() {
    let columns = vec![
        GeneratedColumn { values: Values::Texts(7), ..column("word", DataType::Utf8) },
        GeneratedColumn { values: Values::Cycle(3), ..column("id", DataType::Int32) },
    ];
    let rows = SchemaRows::new(columns, 1).expect("valid");
    let parsed: Vec<Json> =
        lines(&rows, 0..1_000).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(parsed.iter().map(|row| row["word"].to_string()).collect::<BTreeSet<_>>().len(), 7);
    assert!((0..).zip(&parsed).all(|(row, found): (u64, _)| found["id"] == row % 3));
}

#[test]
fn a_type_that_no_value_is_made_for_is_refused_by_name() {
    let error = GeneratedColumn::new("blob", DataType::Binary).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "generator.schema: column `blob`: no values are made for Binary (expected a number, text, a boolean, a date or \
         a timestamp)"
    );
    let misfit = GeneratedColumn { values: Values::Whole(1_000_000), ..column("small", DataType::Int8) };
    let error = SchemaRows::new(vec![misfit], 0).map(|_| ());
    assert!(error.is_err(), "numbers that the type cannot hold");
    assert!(SchemaRows::new(Vec::new(), 0).is_err(), "no column at all");
}
