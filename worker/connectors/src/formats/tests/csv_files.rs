//! CSV: headers, quotes, ragged records, and cuts.

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use proptest::prelude::*;
use thalweg_core::decode::{BadClass, Decoded};

use super::{assert_cuts_do_not_matter, decode};
use crate::formats::{Column, CsvDecoder, CsvOptions, Framing, Header};

const FRAMING: Framing = Framing::Csv { delimiter: b',', quote: b'"' };

fn decoder(options: CsvOptions) -> CsvDecoder {
    let columns = vec![
        Column::new("id", DataType::Int32).from_field("LocationID").required(),
        Column::new("zone", DataType::Utf8).from_field("Zone"),
    ];
    let decoder = CsvDecoder::new(columns, options).unwrap();
    decoder.set_header(&Arc::from("trips.json"), b"LocationID,\"Borough\",Zone\r\n").unwrap();
    decoder
}

fn read(text: &str) -> Decoded {
    decode(&decoder(CsvOptions::default()), text.as_bytes())
}

fn zones(batch: &RecordBatch) -> Vec<Option<String>> {
    batch.column(1).as_string::<i32>().iter().map(|zone| zone.map(str::to_owned)).collect()
}

#[test]
fn columns_are_found_by_the_header() {
    let decoded = read("1,EWR,Newark\r\n2,Queens,\"Jamaica \"\"Bay\"\"\"\n\n3,,\n4,\"a\nb\",\"\"\n5,x,\"c,\r\nd\"");
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2, 3, 4, 5]);
    let expected = [Some("Newark"), Some("Jamaica \"Bay\""), None, Some(""), Some("c,\r\nd")];
    assert_eq!(zones(&decoded.batch), expected.map(|zone| zone.map(str::to_owned)));
}

#[test]
fn bad_records_are_named_and_cost_no_other() {
    let table = [
        ("1,2", BadClass::Schema, None, "expected 3 fields, found 2"),
        ("1,2,3,4", BadClass::Schema, None, "expected 3 fields, found 4"),
        ("x,2,3", BadClass::Schema, Some(0), "column `id` (field `LocationID`): expected INT, found \"x\""),
        ("\"1\"\"\",2,3", BadClass::Schema, Some(0), "column `id` (field `LocationID`): expected INT, found \"1\"\"\""),
        (",2,3", BadClass::Schema, Some(0), "column `id` (field `LocationID`): expected INT, found null"),
        ("1,\"2\"x,3", BadClass::Decode, Some(5), "broken CSV: expected the end of the field after its closing quote"),
    ];
    for (bad, class, column, message) in table {
        let decoded = read(&format!("7,a,b\n{bad}\n8,a,b\n"));
        assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().values(), &[7, 8], "{bad}");
        let found: Vec<_> = decoded.bad.iter().map(|b| (b.class, b.column, b.message.as_str())).collect();
        assert_eq!(found, [(class, column, message)], "{bad}");
        assert_eq!(decoded.bad[0].raw, bad);
    }
    let decoded = read("7,a,b\n8,\"a,b\n");
    assert_eq!((decoded.batch.num_rows(), decoded.bad[0].message.as_str()), (1, "broken CSV: a quote is not closed"));
    let invalid = decode(&decoder(CsvOptions::default()), b"1,a,\xff\n2,a,b\n");
    assert_eq!((invalid.batch.num_rows(), invalid.bad[0].class), (1, BadClass::Decode));
}

#[test]
fn a_quote_too_many_costs_its_own_line_and_none_up_to_the_next_quote() {
    let ids = |decoded: &Decoded| decoded.batch.column(0).as_primitive::<Int32Type>().values().to_vec();
    let raw = |decoded: &Decoded| decoded.bad.iter().map(|bad| bad.raw.clone()).collect::<Vec<_>>();
    let decoded = read("1,a,b\n2,\"a,b\n3,a,b\r\n\n4,\"a b\",c\n5,a,\"b\"\"c\"\n");
    assert_eq!((ids(&decoded), raw(&decoded)), (vec![1, 3, 4, 5], vec!["2,\"a,b".into()]));
    let told = (decoded.bad[0].column, decoded.bad[0].message.as_str());
    assert_eq!(told, (Some(2), "broken CSV: a quote is not closed"));
    // Two of them: each costs its own line.
    let decoded = read("1,\"a,b\n2,a,b\n3,\"a,b\n4,a,b\n5,\"a\",b\n6,a,b\n");
    assert_eq!((ids(&decoded), raw(&decoded)), (vec![2, 4, 5, 6], vec!["1,\"a,b".into(), "3,\"a,b".into()]));
    // A field of several lines that is damaged is no row by its lines.
    let decoded = read("1,\"a\nb\"x,c\n2,a,b\n");
    assert_eq!((ids(&decoded), raw(&decoded)), (vec![2], vec!["1,\"a\nb\"x,c".into()]));
}

#[test]
fn other_marks_and_names_are_options() {
    let names = ["id", "zone"].map(str::to_owned).to_vec();
    let options = CsvOptions {
        header: Header::Names(names),
        delimiter: b';',
        quote: Some(b'\''),
        null: "-".to_owned(),
        ..CsvOptions::default()
    };
    let columns = vec![Column::new("id", DataType::Int32), Column::new("zone", DataType::Utf8)];
    let decoder = CsvDecoder::new(columns, options).unwrap();
    let decoded = decode(&decoder, b"1;'a;''b'\n-;-\n3;'-'\n4;\n");
    assert_eq!(decoded.bad, []);
    assert!(decoded.batch.column(0).is_null(1));
    let expected = [Some("a;'b"), None, Some("-"), Some("")];
    assert_eq!(zones(&decoded.batch), expected.map(|zone| zone.map(str::to_owned)));
}

#[test]
fn a_header_may_lack_columns_that_have_a_default_but_not_all() {
    let zone = Column::new("zone", DataType::Utf8).from_field("Zone");
    let columns = [zone, Column::new("id", DataType::Int32)];
    let columns = columns.map(|column| Column { default: Some("0".to_owned()), ..column });
    let decoder = CsvDecoder::new(columns.to_vec(), CsvOptions::default()).unwrap();
    let error = decoder.set_header(&Arc::from("b.csv"), b"Zone;id\n").unwrap_err().to_string();
    let detail = "expected it, or another column that is read, in the header of `b.csv`, found Zone;id";
    assert_eq!(error, format!("column `zone` (field `Zone`): {detail}"));
    decoder.set_header(&Arc::from("old.csv"), b"id\n").expect("an older file may lack a column");
}

#[test]
fn headers_that_lack_a_column_without_a_default_are_refused_whether_it_may_be_null_or_not() {
    let decoder = decoder(CsvOptions::default());
    let error = decoder.set_header(&Arc::from("b.csv"), b"a,b\n").unwrap_err().to_string();
    let hint = "(mend its `from`, or give it a `default` where older files lack it)";
    assert_eq!(
        error,
        format!("column `id` (field `LocationID`): expected in the header of `b.csv`, found a, b {hint}")
    );
    let misspelt = CsvDecoder::new(
        vec![Column::new("id", DataType::Int32), Column::new("nam", DataType::Utf8)],
        CsvOptions::default(),
    );
    let error = misspelt.unwrap().set_header(&Arc::from("b.csv"), b"id,name\n").unwrap_err().to_string();
    assert_eq!(error, format!("column `nam`: expected in the header of `b.csv`, found id, name {hint}"));
    let mut chunk = super::chunk_at(0, b"1,2\n");
    chunk.piece.name = Arc::from("c.csv");
    let decoded = thalweg_core::decode::Decoder::decode(&decoder, &chunk);
    assert_eq!(decoded.bad[0].message, "the header of `c.csv` is not known");
}

/// Every end of a record that a framing finds when bytes arrive in pieces of these lengths.
fn ends(framing: Framing, text: &[u8], steps: &[usize]) -> Vec<usize> {
    let (mut from, mut to, mut ends) = (0, 0, Vec::new());
    for step in steps.iter().cycle() {
        to = (to + step).min(text.len());
        let whole = framing.complete_prefix(&text[from..to]);
        if whole > 0 {
            from += whole;
            ends.push(from);
        }
        if to == text.len() {
            return ends;
        }
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn chunks_cut_by_framing_decode_as_the_whole(text in "[1a,\"\"\n\n\r ]{0,60}", steps in prop::collection::vec(1_usize..9, 1..5)) {
        let cuts = ends(FRAMING, text.as_bytes(), &steps);
        assert_cuts_do_not_matter(&decoder(CsvOptions::default()), text.as_bytes(), &cuts);
    }

    #[test]
    fn records_in_quotes_are_not_cut(fields in prop::collection::vec("[a\",\n]{0,5}", 1..12), steps in prop::collection::vec(1_usize..9, 1..5)) {
        let records: Vec<String> = fields.iter().map(|f| format!("1,\"{}\",x\n", f.replace('"', "\"\""))).collect();
        let mut bounds = vec![0];
        records.iter().for_each(|record| bounds.push(bounds[bounds.len() - 1] + record.len()));
        let text = records.concat();
        let found = ends(FRAMING, text.as_bytes(), &steps);
        prop_assert_eq!(found.last(), bounds.last());
        prop_assert!(found.iter().all(|end| bounds.contains(end)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&decoder(CsvOptions::default()), &bytes);
        ends(FRAMING, &bytes, &[7]);
    }
}

#[test]
fn lines_end_at_newlines() {
    assert_eq!(ends(Framing::Lines, b"ab\ncd\nef", &[4]), [3, 6]);
    assert_eq!(Framing::Lines.complete_prefix(b"abc"), 0);
}
