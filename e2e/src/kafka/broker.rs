//! A broker's process, its settings and its ports.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take until it answers; on two busy cores it takes some five seconds.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A further listener of the broker, beside the plain one.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name: `TLS`.
    pub name: &'static str,
    /// `SSL`, `SASL_SSL` or `SASL_PLAINTEXT`.
    pub protocol: &'static str,
    /// Lines of `server.properties`.
    pub properties: String,
}

/// One broker that is its own controller, on free ports of loopback, with data in a temporary folder. It ends when this
/// is dropped, and also when the process that holds this is killed.
pub struct Kafka {
    folder: TempDir,
    jars: PathBuf,
    port: u16,
    ports: Vec<(&'static str, u16)>,
    format: Vec<String>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Kafka {
    /// Starts a broker, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// Starts a broker with further listeners, and arguments of the tool that formats its storage (SCRAM users).
    pub fn start_with(listeners: &[Listener], format: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, controller) = (free_port(), free_port());
        let ports: Vec<_> = listeners.iter().map(|listener| (listener.name, free_port())).collect();
        let settings = settings(folder.path(), port, controller, listeners, &ports);
        fs::write(folder.path().join("server.properties"), settings).expect("written");
        fs::write(folder.path().join("cluster-id"), "dGhhbHdlZy1lMmUtYmVkMQ").expect("written");
        let format = format.iter().map(|word| (*word).to_owned()).collect();
        let mut kafka = Self { folder, jars: jars(), port, ports, format, process: None };
        kafka.resume();
        kafka
    }

    /// `host:port` of the plain listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `localhost:port` of a further listener.
    pub fn address_of(&self, listener: &str) -> String {
        let port = self.ports.iter().find(|(name, _)| *name == listener).expect("a listener that was asked for").1;
        format!("localhost:{port}")
    }

    /// The folder of the broker's settings and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the broker again, with the data that it had.
    pub fn resume(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/broker");
        let mut child = Command::new(script)
            .arg(&self.jars)
            .arg(self.folder.path())
            .args(&self.format)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("bash starts");
        let orders = child.stdin.take().expect("piped");
        self.process = Some(Process { child, orders });
        self.wait_until_it_answers();
    }

    /// Ends the broker in order; its data stay.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            writeln!(process.orders, "stop").expect("the script listens");
            process.child.wait().expect("it ends");
        }
    }

    /// Kills the broker; its data stay.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The script kills the broker when its input ends.
            drop(process.orders);
            let _ = process.child.wait();
        }
    }

    /// A command with Kafka's classes: `["org.apache.kafka.tools.TopicCommand", …]`.
    pub fn tool(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xmx256m"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class)
            .env_remove("JAVA_TOOL_OPTIONS")
            .stdin(Stdio::null());
        command
    }

    fn wait_until_it_answers(&mut self) {
        let started = Instant::now();
        loop {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.child.try_wait().ok().flatten());
            let log = || fs::read_to_string(self.folder.path().join("broker.log")).unwrap_or_default();
            let formatted = || fs::read_to_string(self.folder.path().join("format.log")).unwrap_or_default();
            assert!(ended.is_none(), "the broker ended: {}\n{}", formatted(), log());
            assert!(started.elapsed() < START_LIMIT, "no answer after {START_LIMIT:?}: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder with Kafka's jars, filled on the first call on a machine.
fn jars() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/fetch");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("bash starts");
    assert!(output.status.success(), "fetching Kafka: {}", output.status);
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn settings(
    folder: &Path,
    port: u16,
    controller: u16,
    listeners: &[Listener],
    ports: &[(&'static str, u16)],
) -> String {
    let join = |parts: Vec<String>| parts.into_iter().map(|part| format!(",{part}")).collect::<String>();
    let bound = join(ports.iter().map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect());
    let advertised = join(ports.iter().map(|(name, port)| format!("{name}://localhost:{port}")).collect());
    let protocols = join(listeners.iter().map(|one| format!("{}:{}", one.name, one.protocol)).collect());
    let more: String = listeners.iter().map(|listener| listener.properties.as_str()).collect();
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{bound}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
min.insync.replicas=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=1000
log.segment.delete.delay.ms=1000
{more}",
        data.display()
    )
}
