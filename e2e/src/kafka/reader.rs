//! What Kafka's own console consumer sees: an eye that shares no code with what is tested.

use std::process::Stdio;

use super::Kafka;

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its key; `null` is none.
    pub key: Option<String>,
    /// Its value; `null` is none.
    pub value: Option<String>,
}

impl Kafka {
    /// Every committed record of a topic, in the order of each partition, as the console consumer prints them
    /// (`read_committed`). It ends when it has heard nothing for six seconds.
    pub fn committed(&self, topic: &str) -> Vec<Seen> {
        let output = self
            .tool("org.apache.kafka.tools.consumer.ConsoleConsumer")
            .args(["--bootstrap-server", &self.address(), "--topic", topic, "--from-beginning"])
            .args(["--isolation-level", "read_committed", "--timeout-ms", "6000"])
            .args(["--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true"])
            .args(["--formatter-property", "print.key=true", "--formatter-property", "key.separator=\t"])
            .stderr(Stdio::piped())
            .output()
            .expect("java starts");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("unexpected line `{line}`"))).collect()
    }
}

/// `Partition:0 TAB Offset:7 TAB KEY TAB VALUE`
fn parse(line: &str) -> Option<Seen> {
    let mut parts = line.splitn(4, '\t');
    let partition = parts.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let offset = parts.next()?.strip_prefix("Offset:")?.parse().ok()?;
    let mut text = || parts.next().map(|part| Some(part.to_owned()).filter(|part| part != "null"));
    Some(Seen { partition, offset, key: text()?, value: text()? })
}
