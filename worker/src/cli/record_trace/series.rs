//! From Prometheus' answer to a trace. Pure.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::metrics::ENDS;

/// The most points of a series that Prometheus answers (`web/api/v1/api.go`).
const MOST_POINTS: u64 = 11_000;

/// The time that is asked for, in seconds since 1970, and how far two points are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first point.
    pub from: i64,
    /// The last one comes no later.
    pub to: i64,
    /// Seconds from one point to the next.
    pub step: u64,
}

/// Why there is no trace.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The address is none.
    #[error(
        "--prometheus is `{0}`; expected http://HOST:PORT: a Prometheus in a cluster is reached by `kubectl port-forward \
         service/prometheus 9090`, then --prometheus http://localhost:9090"
    )]
    Url(String),
    /// The time is none.
    #[error(
        "from {from} to {to} (seconds since 1970) with a --step of {step} s there is less than one step; expected \
             --from before --to, and a --step of at least 1s that is no longer than the time between them"
    )]
    NoTime {
        /// Where it begins.
        from: i64,
        /// Where it ends.
        to: i64,
        /// The step.
        step: u64,
    },
    /// More than is answered.
    #[error(
        "{points} steps of {step} s: Prometheus answers at most {MOST_POINTS}; expected a --step of at least {least}s, or \
         less time"
    )]
    TooMany {
        /// How many there are.
        points: u64,
        /// The step.
        step: u64,
        /// The least that would do.
        least: u64,
    },
    /// Nobody answers.
    #[error("{url} does not answer: {said}")]
    Away {
        /// Who was asked.
        url: String,
        /// What happened.
        said: String,
    },
    /// Somebody else answers.
    #[error("{url} is no Prometheus: it answered {status} `{said}`, expected JSON of /api/v1/query_range")]
    NoPrometheus {
        /// Who was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// Its beginning.
        said: String,
    },
    /// It says that it cannot answer.
    #[error("Prometheus answered {kind}: {said}")]
    Refused {
        /// Its word for it.
        kind: String,
        /// Why.
        said: String,
    },
    /// The answer has another shape.
    #[error("Prometheus' answer is not what is expected of /api/v1/query_range, a matrix: {0}")]
    Shape(String),
    /// There is nothing.
    #[error(
        "Prometheus has no {} of pipeline {namespace}.{pipeline} from {from} to {to} (seconds since 1970): does it scrape \
         the workers (chart value podMonitor.enabled), does the pipeline show its splits (worker.metricsBy: [Split]), did one \
         run then, and is its source one that knows its end (Kafka)?",
        ENDS.name
    )]
    Nothing {
        /// The pipeline.
        pipeline: String,
        /// Its namespace.
        namespace: String,
        /// The first second.
        from: i64,
        /// The last one.
        to: i64,
    },
}

impl Range {
    /// A time of at least one step, of no more than are answered.
    ///
    /// # Errors
    /// It is none.
    pub fn new(from: i64, to: i64, step: u64) -> Result<Self, Problem> {
        let seconds = u64::try_from(to.saturating_sub(from)).unwrap_or_default();
        if step == 0 || seconds < step {
            return Err(Problem::NoTime { from, to, step });
        }
        let points = seconds / step;
        if points >= MOST_POINTS {
            return Err(Problem::TooMany { points, step, least: seconds.div_ceil(MOST_POINTS - 1) });
        }
        Ok(Self { from, to, step })
    }

    fn points(self) -> usize {
        usize::try_from(self.to.saturating_sub(self.from)).unwrap_or_default() / self.step as usize + 1
    }

    /// The number of the point of a time.
    fn at(self, time: f64) -> Option<usize> {
        let at = ((time - self.from as f64) / self.step as f64).round();
        (at >= 0.0 && at < self.points() as f64).then_some(at as usize)
    }
}

/// A trace, and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// As `thalweg simulate-scaling` reads it.
    pub csv: String,
    /// What is not as it looks.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: String,
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    /// Seconds since 1970, and a number as text.
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Labels {
    source: String,
    split: String,
}

/// The records that came into each split, from where its end was at each point.
///
/// # Errors
/// Prometheus refused, answered something else, or has nothing.
pub fn recorded(answer: &Value, range: Range, pipeline: &str, namespace: &str) -> Result<Recorded, Problem> {
    let answer = Answer::deserialize(answer).map_err(|error| Problem::Shape(error.to_string()))?;
    if answer.status != "success" {
        return Err(Problem::Refused { kind: answer.error_type, said: answer.error });
    }
    let mut series = answer.data.map(|data| data.result).unwrap_or_default();
    series.sort_by_cached_key(|series| key(&series.metric));
    let ends = series.iter().map(|series| ends(series, range)).collect::<Result<Vec<_>, _>>()?;
    if ends.iter().all(|ends| ends.iter().flatten().count() < 2) {
        let (pipeline, namespace) = (pipeline.to_owned(), namespace.to_owned());
        return Err(Problem::Nothing { pipeline, namespace, from: range.from, to: range.to });
    }
    let arrivals: Vec<Vec<f64>> = ends.iter().map(|ends| arrivals(ends, range.step as f64)).collect();
    let notes = series.iter().zip(&ends).filter_map(|(series, ends)| note(&series.metric, ends, range)).collect();
    Ok(Recorded { csv: csv(&arrivals, range), notes })
}

/// Splits in the order of their numbers, where they are numbers.
fn key(labels: &Labels) -> (String, u64, String) {
    (labels.source.clone(), labels.split.parse().unwrap_or(u64::MAX), labels.split.clone())
}

/// The end at each point, where it is known.
fn ends(series: &Series, range: Range) -> Result<Vec<Option<f64>>, Problem> {
    let mut ends = vec![None; range.points()];
    for (time, text) in &series.values {
        let end = text.parse::<f64>().ok().filter(|end| end.is_finite() && *end >= 0.0);
        let shape = || Problem::Shape(format!("found `{text}`, expected where a log ends: a number, 0 or more"));
        let end = end.ok_or_else(shape)?;
        if let Some(at) = range.at(*time) {
            ends[at] = Some(end);
        }
    }
    Ok(ends)
}

/// Records a second from each point to the next. What is known at two points only came evenly between them; nothing is known to
/// have come before the first and after the last. An end that falls is that of a log that was made anew.
fn arrivals(ends: &[Option<f64>], step: f64) -> Vec<f64> {
    let mut arrivals = vec![0.0; ends.len().saturating_sub(1)];
    let mut known = ends.iter().enumerate().filter_map(|(at, end)| Some((at, (*end)?)));
    let Some(mut before) = known.next() else { return arrivals };
    for (at, end) in known {
        let came = if end >= before.1 { end - before.1 } else { end };
        arrivals[before.0..at].fill(came / ((at - before.0) as f64 * step));
        before = (at, end);
    }
    arrivals
}

/// That a split was not known all the time.
fn note(labels: &Labels, ends: &[Option<f64>], range: Range) -> Option<String> {
    let known = ends.iter().flatten().count();
    let second = |at: usize| at as u64 * range.step;
    let (first, last) = (ends.iter().position(Option::is_some)?, ends.iter().rposition(Option::is_some)?);
    (known < ends.len()).then(|| {
        format!(
            "the end of {}/{} is known at {known} of {} points, from second {} to {}: what came is spread evenly between \
             them, and counts as nothing outside",
            labels.source,
            labels.split,
            ends.len(),
            second(first),
            second(last)
        )
    })
}

fn csv(arrivals: &[Vec<f64>], range: Range) -> String {
    let mut text = String::from("second");
    (0..arrivals.len()).for_each(|split| {
        let _ = write!(text, ",split_{split}");
    });
    text.push('\n');
    let rows = arrivals.iter().map(Vec::len).max().unwrap_or_default();
    let mut row = |second: u64, at: usize| {
        let _ = write!(text, "{second}");
        for split in arrivals {
            // To a tenth; a whole number is written as one.
            let _ = write!(text, ",{}", (split[at] * 10.0).round() / 10.0);
        }
        text.push('\n');
    };
    (0..rows).for_each(|at| row(at as u64 * range.step, at));
    // A row counts until the next one: this one ends the last.
    if range.step > 1 && rows > 0 {
        row(rows as u64 * range.step - 1, rows - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range() -> Range {
        Range::new(1_000, 1_090, 30).expect("a range")
    }

    fn answer(series: &[(&str, Value)]) -> Value {
        let result = series
            .iter()
            .map(|(split, values)| json!({"metric": {"source": "trips", "split": split}, "values": values}));
        json!({"status": "success", "data": {"resultType": "matrix", "result": result.collect::<Vec<_>>()}})
    }

    fn told(answer: &Value) -> String {
        recorded(answer, range(), "fares", "shop").expect_err("it is wrong").to_string()
    }

    #[test]
    fn arrivals_are_how_far_ends_move_and_splits_are_in_the_order_of_their_numbers() {
        let answer = answer(&[
            ("10", json!([[1000, "7"], [1030, "7"], [1060, "8"], [1090, "8"]])),
            ("9", json!([[1000, "100"], [1030, "400"], [1060, "1000"], [1090, "1000"]])),
        ]);
        let recorded = recorded(&answer, range(), "fares", "shop").expect("a trace");
        assert_eq!(recorded.csv, "second,split_0,split_1\n0,10,0\n30,20,0\n60,0,0\n89,0,0\n");
        assert_eq!(recorded.notes, [""; 0]);
    }

    #[test]
    fn what_is_not_known_is_spread_between_what_is_and_told() {
        let answer = answer(&[("0", json!([[1000, "0"], [1090, "900"]])), ("1", json!([[1060, "5"], [1090, "65"]]))]);
        let recorded = recorded(&answer, range(), "fares", "shop").expect("a trace");
        assert_eq!(recorded.csv, "second,split_0,split_1\n0,10,0\n30,10,0\n60,10,2\n89,10,2\n");
        assert_eq!(recorded.notes.len(), 2);
        assert!(recorded.notes[1].starts_with("the end of trips/1 is known at 2 of 4 points, from second 60 to 90"));
    }

    #[test]
    fn a_topic_that_was_made_anew_counts_from_nothing() {
        let answer = answer(&[("0", json!([[1000, "9000"], [1030, "9300"], [1060, "60"], [1090, "360"]]))]);
        let recorded = recorded(&answer, range(), "fares", "shop").expect("a trace");
        assert_eq!(recorded.csv, "second,split_0\n0,10\n30,2\n60,10\n89,10\n");
    }

    #[test]
    fn what_is_no_load_is_told_with_what_was_found() {
        let nothing = told(&answer(&[]));
        assert!(nothing.starts_with("Prometheus has no thalweg_source_end_records of pipeline shop.fares from 1000"));
        let refused = json!({"status": "error", "errorType": "bad_data", "error": "invalid parameter \"step\""});
        assert_eq!(told(&refused), "Prometheus answered bad_data: invalid parameter \"step\"");
        let text = answer(&[("0", json!([[1000, "NaN"], [1030, "1"]]))]);
        assert!(
            told(&text).ends_with("found `NaN`, expected where a log ends: a number, 0 or more"),
            "{}",
            told(&text)
        );
        assert!(told(&json!({"status": "success", "data": {"result": [{"metric": {}}]}})).contains("missing field"));
    }
}
