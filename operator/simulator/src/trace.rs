//! A load: what comes into each split, second by second.

use std::fmt::Write as _;

/// Longest trace: a month.
const MOST_SECONDS: usize = 31 * 86_400;
/// Most figures of a trace: a day of a thousand splits.
const MOST_FIGURES: usize = 86_400 * 1_000;

/// A load: records that come into each split, second by second.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    splits: usize,
    /// Second by second, in each the splits in turn.
    arrivals: Vec<f32>,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// There are no rows.
    #[error("the trace has no rows; expected a header `second,split_0,…` and a row a second")]
    Empty,
    /// The first line is no header.
    #[error("line 1 is `{0}`; expected a header `second,split_0,split_1,…`")]
    Header(String),
    /// A row has more or fewer columns than the header.
    #[error("line {line} has {found} columns; expected {expected}, as in the header")]
    Columns {
        /// Its number, from 1.
        line: usize,
        /// How many it has.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// A cell is no figure.
    #[error("line {line}, column {column}: found `{found}`, expected {expected}")]
    Cell {
        /// Its row, from 1.
        line: usize,
        /// The name of its column.
        column: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// More than is simulated.
    #[error("line {line}: the trace is longer than {MOST_SECONDS} seconds, or has more than {MOST_FIGURES} figures")]
    TooLong {
        /// The row, from 1.
        line: usize,
    },
}

impl Trace {
    /// A load of so many splits; `arrivals` has those of each second in turn.
    pub(crate) fn new(splits: usize, arrivals: Vec<f32>) -> Self {
        Self { splits: splits.max(1), arrivals }
    }

    /// Reads CSV: a header `second,split_0,…`, then rows with records a second. A row counts until the next one's second, so
    /// that a history by the minute need not be blown up. The first row's second is where time begins.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        let (header, _) = lines.next().ok_or(TraceError::Empty)?;
        let columns: Vec<&str> = header.split(',').map(str::trim).collect();
        if columns.len() < 2 || columns[0] != "second" {
            return Err(TraceError::Header(header.to_owned()));
        }
        let splits = columns.len() - 1;
        let (mut arrivals, mut row, mut last) = (Vec::new(), Vec::with_capacity(splits), None::<(u64, u64)>);
        for (line, number) in lines {
            let second = read_row(line, number, &columns, &mut row)?;
            let first = last.map_or(second, |(first, _)| first);
            let repeats = match last {
                Some((_, before)) if second <= before => {
                    let found = second.to_string();
                    let expected = "a later second than in the row before";
                    return Err(TraceError::Cell { line: number, column: columns[0].to_owned(), found, expected });
                }
                Some((_, before)) => second - before - 1,
                None => 0,
            };
            let most = MOST_SECONDS.min(MOST_FIGURES / splits) as u64;
            if second - first >= most {
                return Err(TraceError::TooLong { line: number });
            }
            for _ in 0..repeats {
                arrivals.extend_from_within(arrivals.len() - splits..);
            }
            arrivals.append(&mut row);
            last = Some((first, second));
        }
        if last.is_none() { Err(TraceError::Empty) } else { Ok(Self { splits, arrivals }) }
    }

    /// As [`Trace::parse`] reads it.
    pub fn csv(&self) -> String {
        self.csv_each(1)
    }

    /// The same, coarser: a row for so many seconds, with their mean. The last row ends the last of these.
    pub fn csv_each(&self, seconds: u32) -> String {
        let mut text = String::from("second");
        for split in 0..self.splits {
            let _ = write!(text, ",split_{split}");
        }
        text.push('\n');
        let each = seconds.max(1);
        let mut row = |second: u32, stretch: std::ops::Range<u32>| {
            let _ = write!(text, "{second}");
            let count = f64::from(stretch.end - stretch.start);
            for split in 0..self.splits {
                let sum: f64 = stretch.clone().map(|second| f64::from(self.at(second)[split])).sum();
                let _ = write!(text, ",{:.0}", sum / count);
            }
            text.push('\n');
        };
        let stretch = |from: u32| from..from.saturating_add(each).min(self.seconds());
        let starts: Vec<u32> = (0..self.seconds()).step_by(each as usize).collect();
        starts.iter().for_each(|from| row(*from, stretch(*from)));
        if let Some(from) = starts.last().filter(|from| **from + 1 < self.seconds()) {
            row(self.seconds() - 1, stretch(*from));
        }
        text
    }

    /// How long it is.
    pub fn seconds(&self) -> u32 {
        (self.arrivals.len() / self.splits) as u32
    }

    /// How many splits there are.
    pub fn splits(&self) -> usize {
        self.splits
    }

    /// What comes into each split in a second.
    pub fn at(&self, second: u32) -> &[f32] {
        let from = second as usize * self.splits;
        &self.arrivals[from..from + self.splits]
    }
}

/// Reads a row's second, and its figures into `row`.
fn read_row(line: &str, number: usize, columns: &[&str], row: &mut Vec<f32>) -> Result<u64, TraceError> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if cells.len() != columns.len() {
        return Err(TraceError::Columns { line: number, found: cells.len(), expected: columns.len() });
    }
    let wrong = |at: usize, expected| TraceError::Cell {
        line: number,
        column: columns[at].to_owned(),
        found: cells[at].to_owned(),
        expected,
    };
    let second = cells[0].parse::<u64>().map_err(|_| wrong(0, "a whole number of seconds"))?;
    for (at, cell) in cells.iter().enumerate().skip(1) {
        let arrivals = cell.parse::<f32>().ok().filter(|figure| (0.0..=1e12).contains(figure));
        row.push(arrivals.ok_or_else(|| wrong(at, "records a second, 0 or more"))?);
    }
    Ok(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_until_the_next_one() {
        let trace = Trace::parse("second,split_0,split_1\n100,1,2\n103,5,0.5\n").unwrap();
        assert_eq!((trace.seconds(), trace.splits()), (4, 2));
        assert_eq!((trace.at(0), trace.at(2), trace.at(3)), (&[1.0, 2.0][..], &[1.0, 2.0][..], &[5.0, 0.5][..]));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trace = Trace::new(2, vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(Trace::parse(&trace.csv()), Ok(trace));
    }

    #[test]
    fn a_coarse_trace_is_as_long_and_brings_as_much() {
        let trace = Trace::new(1, vec![1.0, 3.0, 8.0, 2.0, 5.0]);
        assert_eq!(trace.csv_each(2), "second,split_0\n0,2\n2,5\n4,5\n");
        assert_eq!(trace.csv_each(3), "second,split_0\n0,4\n3,4\n4,4\n", "the mean of what is left");
        let coarse = Trace::parse(&trace.csv_each(2)).unwrap();
        assert_eq!((coarse.seconds(), coarse.at(1)[0]), (5, 2.0));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            ("", "the trace has no rows; expected a header `second,split_0,…` and a row a second"),
            ("second,a\n", "the trace has no rows; expected a header `second,split_0,…` and a row a second"),
            ("time,a\n1,2\n", "line 1 is `time,a`; expected a header `second,split_0,split_1,…`"),
            ("second,a\n0,1,2\n", "line 2 has 3 columns; expected 2, as in the header"),
            ("second,a\n0,-1\n", "line 2, column a: found `-1`, expected records a second, 0 or more"),
            ("second,a\n0,NaN\n", "line 2, column a: found `NaN`, expected records a second, 0 or more"),
            ("second,a\nx,1\n", "line 2, column second: found `x`, expected a whole number of seconds"),
            (
                "second,a\n5,1\n5,1\n",
                "line 3, column second: found `5`, expected a later second than in the row before",
            ),
        ] {
            assert_eq!(Trace::parse(text).unwrap_err().to_string(), told);
        }
        assert_eq!(Trace::parse("second,a\n0,1\n99999999999,1\n"), Err(TraceError::TooLong { line: 3 }));
    }
}
