use super::*;
use proptest::prelude::*;

fn message(text: &str) -> String {
    text.parse::<ColumnType>().expect_err(text).to_string()
}

fn read(text: &str) -> ColumnType {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn reads_every_name_of_flink_in_any_case() {
    for (text, expected) in [
        ("boolean", ColumnType::Boolean),
        ("TINYINT", ColumnType::TinyInt),
        ("SMALLINT", ColumnType::SmallInt),
        ("Integer", ColumnType::Int),
        ("BIGINT", ColumnType::BigInt),
        ("DOUBLE PRECISION", ColumnType::Double),
        ("DECIMAL", ColumnType::Decimal { precision: 10, scale: 0 }),
        ("numeric ( 10 ,2 )", ColumnType::Decimal { precision: 10, scale: 2 }),
        ("VARCHAR", ColumnType::Varchar(1)),
        ("CHAR(3)", ColumnType::Char(3)),
        ("VARBINARY", ColumnType::Bytes),
        ("TIME", ColumnType::Time(0)),
        ("TIMESTAMP", ColumnType::Timestamp(6)),
        ("TIMESTAMP(3) WITHOUT TIME ZONE", ColumnType::Timestamp(3)),
        ("TIMESTAMP(3) WITH LOCAL TIME ZONE", ColumnType::TimestampLtz(3)),
        ("TIMESTAMP WITH TIME ZONE", ColumnType::TimestampLtz(6)),
        ("TIMESTAMP_LTZ(9)", ColumnType::TimestampLtz(9)),
        ("STRING NULL", ColumnType::String),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn reads_nested_types_with_quotes_comments_and_not_null() {
    let text = "ROW<a INT NOT NULL 'first', `b c` ARRAY<MAP<STRING, DECIMAL(4, 1)>>> NOT NULL";
    let data_type = read(text);
    assert_eq!(data_type.to_string(), "ROW<a INT NOT NULL, `b c` ARRAY<MAP<STRING, DECIMAL(4, 1)>>> NOT NULL");
    assert!(!data_type.is_nullable());
    assert_eq!(read("ROW(a INT, b DATE)").to_string(), "ROW<a INT, b DATE>");
}

#[test]
fn a_value_that_a_comma_cut_in_two_is_recognised() {
    assert_eq!(
        message("DECIMAL(10"),
        "`DECIMAL(10` ends inside its parentheses: the comma ended the value here; quote it, such as type: \
         \"DECIMAL(10, 2)\""
    );
    assert!(matches!("MAP<STRING".parse::<ColumnType>(), Err(ColumnTypeError::CutByComma { .. })));
    assert!(matches!("ROW<a INT".parse::<ColumnType>(), Err(ColumnTypeError::CutByComma { .. })));
}

#[test]
fn each_error_says_what_was_found_and_what_is_expected() {
    let any = "expected one of Flink's names, such as STRING, BIGINT or TIMESTAMP(3)";
    assert_eq!(message(" "), format!("the type is empty; {any}"));
    assert_eq!(message("BIGNT"), "`BIGNT` is no type; did you mean BIGINT?");
    assert_eq!(message("text"), "`text` is no type; did you mean STRING?");
    assert_eq!(message("Elephant"), format!("`Elephant` is no type; {any}"));
    assert_eq!(message("INTERVAL"), "INTERVAL is not supported yet; use BIGINT, in milliseconds");
    assert_eq!(message("VARBINARY(8)"), "VARBINARY(n) is not supported yet; use BYTES");
    assert_eq!(message("INT INT"), "`INT INT`: expected the end at character 5, found `INT`");
    assert_eq!(message("DECIMAL(39)"), "`DECIMAL(39)`: the precision must be 1 to 38, found 39");
    assert_eq!(message("DECIMAL(4,5)"), "`DECIMAL(4,5)`: the scale must be 0 to 4, found 5");
    assert_eq!(message("TIMESTAMP(10)"), "`TIMESTAMP(10)`: the number of digits of a second must be 0 to 9, found 10");
    assert_eq!(
        message("MAP<STRING>"),
        "`MAP<STRING>`: expected `,` between the types of MAP at character 11, found `>`"
    );
    assert_eq!(message("INT NOT"), "`INT NOT`: expected NULL after NOT at character 8, found the end");
    assert_eq!(message("ROW<a INT, a INT>"), "ROW has two fields named `a`; rename one");
    assert_eq!(message(&"ARRAY<".repeat(1000)), "the type nests deeper than 16 levels; flatten it");
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    let leaf = prop_oneof![
        Just(ColumnType::Boolean),
        Just(ColumnType::TinyInt),
        Just(ColumnType::SmallInt),
        Just(ColumnType::Int),
        Just(ColumnType::BigInt),
        Just(ColumnType::Float),
        Just(ColumnType::Double),
        (1u8..=38).prop_flat_map(|precision| {
            (0..=precision).prop_map(move |scale| ColumnType::Decimal { precision, scale })
        }),
        Just(ColumnType::String),
        (1u32..=i32::MAX as u32).prop_map(ColumnType::Varchar),
        (1u32..=255).prop_map(ColumnType::Char),
        Just(ColumnType::Bytes),
        Just(ColumnType::Date),
        (0u8..=9).prop_map(ColumnType::Time),
        (0u8..=9).prop_map(ColumnType::Timestamp),
        (0u8..=9).prop_map(ColumnType::TimestampLtz),
    ];
    let not_null = |data_type: ColumnType| match data_type {
        ColumnType::NotNull(_) => data_type,
        other => ColumnType::NotNull(Box::new(other)),
    };
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let fields = prop::collection::btree_map("[a-zA-Z_`é ]{1,8}", inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|element| ColumnType::Array(Box::new(element))),
            (inner.clone(), inner.clone()).prop_map(|(k, v)| ColumnType::Map(Box::new(k), Box::new(v))),
            fields.prop_map(|fields| {
                ColumnType::Row(fields.into_iter().map(|(name, data_type)| RowField { name, data_type }).collect())
            }),
            inner.prop_map(not_null),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(data_type in any_type()) {
        prop_assert_eq!(data_type.to_string().parse::<ColumnType>(), Ok(data_type));
    }

    #[test]
    fn no_text_panics(text in ".*") {
        let _ = text.parse::<ColumnType>();
    }

    #[test]
    fn no_text_of_the_grammar_s_own_tokens_panics(
        tokens in prop::collection::vec(
            prop::sample::select(vec!["ROW", "<", ">", "(", ")", ",", "INT", "NOT", "NULL", "`a`", "'x", "10", "MAP"]),
            0..20,
        )
    ) {
        let _ = tokens.join(" ").parse::<ColumnType>();
    }
}
