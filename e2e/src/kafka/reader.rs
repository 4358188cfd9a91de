//! What Kafka's own console consumer sees: an eye that shares no code with what is tested.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::Kafka;

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its timestamp, in milliseconds since 1970.
    pub time: i64,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its key; `null` is none.
    pub key: Option<String>,
    /// Its value; `null` is none.
    pub value: Option<String>,
}

impl Seen {
    /// Its value, which must be JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.value.as_deref().expect("a value")).expect("json")
    }
}

/// How long a consumer waits for more before it ends, where the caller looks again.
const QUIET_MILLIS: u64 = 6_000;
/// The same, where what it has not heard counts as lost: on busy cores it may take long to begin.
const PATIENT_MILLIS: u64 = 20_000;

impl Kafka {
    /// Every committed record of a topic, in the order of each partition, as the console consumer prints them
    /// (`read_committed`). It ends when it has heard nothing for six seconds.
    pub fn committed(&self, topic: &str) -> Vec<Seen> {
        let mut all = Vec::new();
        self.read(topic, QUIET_MILLIS, |seen| all.push(seen));
        all
    }

    /// [`Kafka::committed`], each with its headers, such as `trace:t-1,sampled:null`; `NO_HEADERS` where there are none.
    pub fn committed_with_headers(&self, topic: &str) -> Vec<(String, Seen)> {
        let mut console = self.console(topic);
        console.args(["--formatter-property", "print.headers=true", "--timeout-ms", &QUIET_MILLIS.to_string()]);
        let shown = String::from_utf8(console.output().expect("java starts").stdout).expect("text");
        let split = |line: &str| {
            // They stand before the key.
            let parts: Vec<_> = line.splitn(5, '\t').collect();
            let [time, partition, offset, headers, rest] = parts[..] else { panic!("unexpected line `{line}`") };
            (headers.to_owned(), parsed(&[time, partition, offset, rest].join("\t")))
        };
        shown.lines().map(split).collect()
    }

    /// [`Kafka::committed`], without holding all of it, and with more patience.
    pub fn each_committed(&self, topic: &str, see: impl FnMut(Seen)) {
        self.read(topic, PATIENT_MILLIS, see);
    }

    /// Whether so many committed records of a topic show; it ends with the last of them.
    pub fn committed_at_least(&self, topic: &str, count: usize) -> bool {
        let most = count.to_string();
        let mut console = self.console(topic);
        console.args(["--max-messages", &most, "--timeout-ms", &QUIET_MILLIS.to_string()]);
        let shown = console.output().expect("java starts").stdout;
        shown.iter().filter(|byte| **byte == b'\n').count() >= count
    }

    fn read(&self, topic: &str, quiet_millis: u64, mut see: impl FnMut(Seen)) {
        let mut child =
            self.console(topic).args(["--timeout-ms", &quiet_millis.to_string()]).spawn().expect("java starts");
        let out = child.stdout.take().expect("piped");
        for line in BufReader::new(out).lines() {
            see(parsed(&line.expect("text")));
        }
        child.wait().expect("ended");
    }

    /// Watches a topic from its beginning, while others write to it.
    pub fn tail(&self, topic: &str, mut see: impl FnMut(Seen) + Send + 'static) -> Tail {
        let mut child = self.console(topic).spawn().expect("java starts");
        let out = child.stdout.take().expect("piped");
        // The last line may be cut off where the consumer is ended.
        let watch = move || {
            BufReader::new(out).lines().map_while(Result::ok).filter_map(|line| parse(&line)).for_each(&mut see)
        };
        std::thread::spawn(watch);
        Tail(child)
    }

    fn console(&self, topic: &str) -> Command {
        let mut command = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command
            .args(["--bootstrap-server", &self.addresses().join(","), "--topic", topic, "--from-beginning"])
            .args(["--isolation-level", "read_committed"])
            .args(["--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true"])
            .args(["--formatter-property", "print.timestamp=true"])
            .args(["--formatter-property", "print.key=true", "--formatter-property", "key.separator=\t"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }
}

/// A consumer that watches; it ends with this value.
#[derive(Debug)]
pub struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parsed(line: &str) -> Seen {
    parse(line).unwrap_or_else(|| panic!("unexpected line `{line}`"))
}

/// `CreateTime:5 TAB Partition:0 TAB Offset:7 TAB KEY TAB VALUE`
fn parse(line: &str) -> Option<Seen> {
    let mut parts = line.splitn(5, '\t');
    let time = parts.next()?.split_once(':')?.1.parse().ok()?;
    let partition = parts.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let offset = parts.next()?.strip_prefix("Offset:")?.parse().ok()?;
    let mut text = || parts.next().map(|part| Some(part.to_owned()).filter(|part| part != "null"));
    Some(Seen { time, partition, offset, key: text()?, value: text()? })
}
