//! What stands in a folder of output, as a multiset of rows by partition.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows with how often each stands, by partition folder (`""` for the folder itself).
pub type Rows = BTreeMap<String, BTreeMap<String, usize>>;

/// Reads every visible file below a folder.
pub fn rows_in(folder: &Path) -> Rows {
    let mut rows = Rows::new();
    collect(folder, "", &mut rows);
    rows
}

/// How many rows there are in all.
pub fn count(rows: &Rows) -> usize {
    rows.values().flat_map(|partition| partition.values()).sum()
}

fn collect(folder: &Path, partition: &str, rows: &mut Rows) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{partition}{name}/"), rows);
        } else {
            let partition = rows.entry(partition.to_owned()).or_default();
            read(&path).lines().for_each(|row| *partition.entry(row.to_owned()).or_default() += 1);
        }
    }
}

fn read(path: &Path) -> String {
    if path.extension().is_some_and(|suffix| suffix == "parquet") {
        let file = File::open(path).expect("opens");
        let mut writer = LineDelimitedWriter::new(Vec::new());
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("reads") {
            writer.write(&batch.expect("a batch")).expect("JSON");
        }
        writer.finish().expect("JSON");
        String::from_utf8(writer.into_inner()).expect("text")
    } else {
        std::fs::read_to_string(path).expect("text")
    }
}
