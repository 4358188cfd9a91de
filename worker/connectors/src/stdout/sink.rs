//! The sink that shows rows on the terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::error::{Error, Result};
use thalweg_core::sink::{Capability, Label, Sealed, Sink, SinkWriter, WriterId};

use super::table::Table;
use crate::blocking::blocking;
use crate::formats::{Encoder, JsonEncoder};

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// An aligned table.
    Table,
    /// One JSON object a line.
    Json,
}

/// A `stdout` sink. Its writers take turns, whole batches at a time.
#[derive(Clone)]
pub struct StdoutSink {
    style: Style,
    printer: Arc<Mutex<Printer>>,
}

struct Printer {
    table: Table,
    out: Box<dyn Write + Send>,
}

impl StdoutSink {
    /// Shows rows on the process's standard output.
    pub fn new(style: Style) -> Self {
        Self::to(style, io::stdout())
    }

    /// Shows rows elsewhere.
    pub fn to(style: Style, out: impl Write + Send + 'static) -> Self {
        Self { style, printer: Arc::new(Mutex::new(Printer { table: Table::default(), out: Box::new(out) })) }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    fn capability(&self) -> Capability {
        Capability::Volatile
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(StdoutWriter { sink: self.clone() }))
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }
}

impl Style {
    fn text(self, table: &mut Table, rows: &RecordBatch) -> Result<Vec<u8>> {
        match self {
            Self::Table => {
                let lines = table.lines(rows).map_err(|error| Error::internal("showing rows as a table", error))?;
                Ok(lines.into_bytes())
            }
            Self::Json => {
                let mut text = Vec::new();
                JsonEncoder::new().write(rows, &mut text)?;
                Ok(text)
            }
        }
    }
}

struct StdoutWriter {
    sink: StdoutSink,
}

#[async_trait]
impl SinkWriter for StdoutWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let (sink, rows) = (self.sink.clone(), rows.clone());
        blocking(move || {
            let mut printer = sink.printer.lock().unwrap_or_else(PoisonError::into_inner);
            let Printer { table, out } = &mut *printer;
            let text = sink.style.text(table, &rows)?;
            let written = out.write_all(&text).and_then(|()| out.flush());
            written.map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Error::user("writing to stdout", "whoever reads it has gone"),
                _ => Error::external("writing to stdout", error),
            })
        })
        .await
    }

    fn wants_seal(&self, _age: Duration) -> bool {
        false
    }

    async fn seal(&mut self, _label: &Label) -> Result<Option<Sealed>> {
        Ok(None)
    }

    async fn publish(&mut self, _sealed: &Sealed) -> Result<()> {
        Ok(())
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use thalweg_core::ownership::Owner;
    use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn shown(style: Style) -> String {
        let out = Shared::default();
        let sink = StdoutSink::to(style, out.clone());
        for index in 0..2 {
            let unit = UnitId { stage: StageId(0), index };
            let owner = Owner::own(RunId("run".to_owned()));
            let id = WriterId { pipeline: "default.p".to_owned(), incarnation: Incarnation(1), unit, owner };
            let numbers: ArrayRef = Arc::new(Int64Array::from(vec![i64::from(index)]));
            let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
            sink.writer(&id).await.expect("a writer").write(&rows).await.expect("written");
        }
        let text = out.0.lock().expect("a lock").clone();
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn writers_share_one_heading() {
        assert_eq!(shown(Style::Table).await, "n\n-\n0\n1\n");
    }

    #[tokio::test]
    async fn a_row_is_a_line_of_json() {
        assert_eq!(shown(Style::Json).await, "{\"n\":0}\n{\"n\":1}\n");
    }
}
