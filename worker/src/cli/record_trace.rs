//! `thalweg record-trace`: the load of a pipeline, from a Prometheus that has scraped its workers.

mod series;

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::jiff::Timestamp;
use tokio::time::timeout;

use super::args::RecordArgs;
use super::status::on_one_thread;
use super::{Exit, print, tell};
use crate::metrics::ENDS;
use series::{Problem, Range, Recorded, recorded};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest answer: a month of a hundred splits in half minutes is about that.
const MOST_BYTES: usize = 512 << 20;
/// Of an answer that is none of Prometheus' own, so much is shown.
const SHOWN: usize = 200;

/// Writes a trace.
pub fn run(args: &RecordArgs) -> Exit {
    let range = match range(args, Timestamp::now()) {
        Ok(range) => range,
        Err(problem) => return refused(Exit::Wrong, &problem),
    };
    match on_one_thread(ask(args, range)).and_then(|answer| recorded(&answer, range, &args.pipeline, &args.namespace)) {
        Ok(recorded) => written(args, &recorded),
        Err(problem) => refused(Exit::Failed, &problem),
    }
}

fn refused(exit: Exit, problem: &Problem) -> Exit {
    tell(&format!("error: {problem}"));
    exit
}

fn written(args: &RecordArgs, recorded: &Recorded) -> Exit {
    recorded.notes.iter().for_each(|note| tell(&format!("note: {note}")));
    let Some(path) = &args.write else { return print(&recorded.csv) };
    match std::fs::write(path, &recorded.csv) {
        Ok(()) => Exit::Done,
        Err(error) => {
            tell(&format!("error: writing {}: {error}", path.display()));
            Exit::Failed
        }
    }
}

/// The time that is asked for.
fn range(args: &RecordArgs, now: Timestamp) -> Result<Range, Problem> {
    let to = args.to.unwrap_or(now).as_second();
    let last = i64::try_from(args.last.as_std().as_secs()).unwrap_or(i64::MAX);
    let from = args.from.map_or_else(|| to.saturating_sub(last), |from| from.as_second());
    Range::new(from, to, args.step.as_std().as_secs())
}

/// The question, with all that a URL does not take written in hexadecimal.
fn question(base: &Uri, query: &str, range: Range) -> Result<Uri, Problem> {
    let Some(authority) = base.authority().filter(|_| base.scheme_str() == Some("http")) else {
        return Err(Problem::Url(base.to_string()));
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let query: String = query
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let (path, Range { from, to, step }) = (base.path().trim_end_matches('/'), range);
    let uri = format!("http://{authority}{path}/api/v1/query_range?query={query}&start={from}&end={to}&step={step}");
    uri.parse().map_err(|_| Problem::Url(base.to_string()))
}

/// Where each split's end was. While a split changes its reader two of them tell, and ends only grow.
fn query(pipeline: &str, namespace: &str) -> String {
    format!("max by (source, split) ({}{{pipeline=\"{namespace}.{pipeline}\"}})", ENDS.name)
}

async fn ask(args: &RecordArgs, range: Range) -> Result<serde_json::Value, Problem> {
    let uri = question(&args.prometheus, &query(&args.pipeline, &args.namespace), range)?;
    let away = |said: String| Problem::Away { url: args.prometheus.to_string(), said };
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let asked = async {
        let response = client.get(uri).await.map_err(|error| away(root(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        Ok((status, body.map_err(|error| away(error.to_string()))?.to_bytes()))
    };
    let late = |_| away(format!("no answer within {} s", ANSWER.as_secs()));
    let (status, body) = timeout(ANSWER, asked).await.map_err(late)??;
    // An error of Prometheus' own is JSON, too, whatever its status.
    serde_json::from_slice(&body).map_err(|_| Problem::NoPrometheus {
        url: args.prometheus.to_string(),
        status: status.as_u16(),
        said: String::from_utf8_lossy(&body).chars().take(SHOWN).collect(),
    })
}

/// The innermost cause: what wraps it says that a request has failed.
fn root(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command as Process, Stdio};

    use clap::Parser;
    use thalweg_simulator::Trace;

    use super::super::args::{Args, Command};
    use super::*;

    fn args(more: &[&str]) -> RecordArgs {
        let all = ["thalweg", "record-trace", "fares", "-n", "shop"].into_iter().chain(more.iter().copied());
        match Args::try_parse_from(all).expect("arguments").command {
            Command::RecordTrace(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn now() -> Timestamp {
        "2026-03-01T06:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_question_names_the_pipeline_and_its_time_and_keeps_the_path() {
        let args = args(&["--prometheus", "http://localhost:9090/p/", "--last", "1h", "--step", "1m"]);
        let range = range(&args, now()).expect("a range");
        let uri =
            question(&args.prometheus, &query(&args.pipeline, &args.namespace), range).expect("a URL").to_string();
        let expected = "http://localhost:9090/p/api/v1/query_range?query=max%20by%20%28source%2C%20split%29%20%28\
                        thalweg_source_end_records%7Bpipeline%3D%22shop.fares%22%7D%29&start=1772341200&end=1772344800&step=60";
        assert_eq!(uri, expected);
    }

    #[test]
    fn what_is_wrong_with_the_question_is_told() {
        let told = |more: &[&str]| {
            let args = args(more);
            let asked = range(&args, now()).and_then(|range| question(&args.prometheus, "x", range));
            asked.expect_err("it is wrong").to_string()
        };
        let url = ["--prometheus", "https://p"];
        assert_eq!(
            told(&url),
            "--prometheus is `https://p/`; expected http://HOST:PORT: a Prometheus in a cluster is reached by `kubectl \
             port-forward service/prometheus 9090`, then --prometheus http://localhost:9090"
        );
        let url = ["--prometheus", "http://p", "--last", "168h", "--step", "15s"];
        assert_eq!(
            told(&url),
            "40320 steps of 15 s: Prometheus answers at most 11000; expected a --step of at least 55s, or less time"
        );
        let url = ["--prometheus", "http://p", "--from", "2026-03-02T00:00:00Z"];
        assert!(told(&url).contains("expected --from before --to"), "{}", told(&url));
        let url = ["--prometheus", "http://p", "--step", "10ms"];
        assert!(told(&url).contains("and a --step of at least 1s"), "{}", told(&url));
    }

    #[tokio::test]
    async fn who_is_no_prometheus_or_away_is_told() {
        let args = args(&["--prometheus", "http://127.0.0.1:9"]);
        let said = ask(&args, Range::new(0, 60, 30).expect("a range")).await.expect_err("nobody is there").to_string();
        assert!(said.starts_with("http://127.0.0.1:9/ does not answer: "), "{said}");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new().fallback(|| async { "hello" });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let args = self::args(&["--prometheus", &url]);
        let said = ask(&args, Range::new(0, 60, 30).expect("a range")).await.expect_err("not JSON").to_string();
        assert_eq!(
            said,
            format!("{url}/ is no Prometheus: it answered 200 `hello`, expected JSON of /api/v1/query_range")
        );
    }

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    /// A Prometheus with an hour of a pipeline: split 0 gets 10 records a second and from half an hour on 40, split 1 5.
    async fn prometheus(folder: &std::path::Path) -> (Running, String) {
        let begin = now().as_second() - 3_600;
        let end =
            |split: i64, second: i64| if split == 0 { 10 * second + 30 * (second - 1_800).max(0) } else { 5 * second };
        let mut text = String::from("# TYPE thalweg_source_end_records gauge\n");
        for split in 0..2 {
            for second in (0..=3_600).step_by(15) {
                let labels = format!("pipeline=\"shop.fares\",source=\"trips\",split=\"{split}\",instance=\"a\"");
                text += &format!("thalweg_source_end_records{{{labels}}} {} {}\n", end(split, second), begin + second);
            }
        }
        std::fs::write(folder.join("data.om"), text + "# EOF\n").expect("written");
        let data = folder.join("data");
        let made = Process::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&folder.join("data.om"), &data])
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("promtool is installed").success());
        std::fs::write(folder.join("prometheus.yml"), "scrape_configs: []\n").expect("written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let server = Process::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .args(["--storage.tsdb.retention.time=100y", &format!("--web.listen-address={free}")])
            .stderr(Stdio::null())
            .spawn();
        let running = Running(server.expect("prometheus is installed"));
        let is_ready = async {
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let ready: Uri = format!("http://{free}/-/ready").parse().expect("a URL");
            while !client.get(ready.clone()).await.is_ok_and(|response| response.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), is_ready).await.expect("it starts");
        (running, format!("http://{free}"))
    }

    #[tokio::test]
    #[ignore = "needs Debian's prometheus: make e2e-tools"]
    async fn a_real_prometheus_gives_the_load_that_came() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_running, url) = prometheus(folder.path()).await;
        let args = args(&["--prometheus", &url, "--last", "1h", "--to", "2026-03-01T06:00:00Z", "--step", "1m"]);
        let range = range(&args, now()).expect("a range");
        let answer = ask(&args, range).await.expect("an answer");
        let trace = recorded(&answer, range, "fares", "shop").expect("a trace");
        assert!(trace.notes.is_empty(), "{:?}", trace.notes);
        let trace = Trace::parse(&trace.csv).expect("simulate-scaling reads it");
        assert_eq!((trace.seconds(), trace.splits()), (3_600, 2));
        assert_eq!((trace.at(600), trace.at(3_000)), (&[10.0, 5.0][..], &[40.0, 5.0][..]));
        let other = recorded(&ask(&args, range).await.expect("an answer"), range, "fares", "shop").expect("a trace");
        assert_eq!(other.csv.lines().count(), 62, "a header, 60 rows, and one that ends the last");
        let none =
            self::args(&["--prometheus", &url, "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-01T01:00:00Z"]);
        let range = self::range(&none, now()).expect("a range");
        let said = recorded(&ask(&none, range).await.expect("an answer"), range, "fares", "shop").expect_err("nothing");
        assert!(said.to_string().contains("has no thalweg_source_end_records of pipeline shop.fares"), "{said}");
    }
}
