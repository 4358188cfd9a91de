//! Brokers' processes, their settings and their ports.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where brokers listen that are for this machine only.
const LOOPBACK: &str = "127.0.0.1";
/// How long a broker may take until it answers; on two busy cores it takes some five seconds.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long one that has accepted a connection may take to answer on it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Ports of brokers.
const PORTS: Range<u16> = 20_000..30_000;

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

/// Brokers that are their own controllers, on free ports of loopback, with data in a temporary folder: one, unless more are
/// asked for. They end when this is dropped, and also when the process that holds this is killed.
pub struct Kafka {
    _folder: TempDir,
    host: String,
    jars: PathBuf,
    brokers: Vec<Broker>,
}

struct Broker {
    folder: PathBuf,
    port: u16,
    ports: Vec<(&'static str, u16)>,
    format: Vec<String>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
}

/// Ports of one broker.
struct Ports {
    plain: u16,
    controller: u16,
}

impl Kafka {
    /// Starts a broker, and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// Starts a broker at an address of this machine, for whoever is not on it.
    pub fn start_at(host: &str) -> Self {
        Self::start_brokers(host, 1, &[], &[])
    }

    /// Starts a broker with further listeners, and arguments of the tool that formats its storage (SCRAM users).
    pub fn start_with(listeners: &[Listener], format: &[&str]) -> Self {
        Self::start_brokers(LOOPBACK, 1, listeners, format)
    }

    /// Starts a cluster of three brokers, which keep each record three times and acknowledge it when two have it.
    pub fn start_three() -> Self {
        Self::start_brokers(LOOPBACK, 3, &[], &[])
    }

    fn start_brokers(host: &str, count: usize, listeners: &[Listener], format: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<_> = (0..count).map(|_| Ports { plain: free_port(), controller: free_port() }).collect();
        let broker = |node: usize| {
            let folder = folder.path().join(node.to_string());
            fs::create_dir(&folder).expect("a folder");
            let further: Vec<_> = listeners.iter().map(|listener| (listener.name, free_port())).collect();
            let settings = settings(&folder, (host, node), &ports, listeners, &further);
            fs::write(folder.join("server.properties"), settings).expect("written");
            fs::write(folder.join("cluster-id"), "dGhhbHdlZy1lMmUtYmVkMQ").expect("written");
            let format = format.iter().map(|word| (*word).to_owned()).collect();
            Broker { folder, port: ports[node].plain, ports: further, format, process: None }
        };
        let brokers = (0..count).map(broker).collect();
        let mut kafka = Self { host: host.to_owned(), jars: jars(), brokers, _folder: folder };
        kafka.resume();
        kafka
    }

    /// How many brokers there are.
    pub fn count(&self) -> usize {
        self.brokers.len()
    }

    /// `host:port` of the first broker's plain listener.
    pub fn address(&self) -> String {
        self.brokers[0].address(&self.host)
    }

    /// `host:port` of every broker's plain listener.
    pub fn addresses(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.address(&self.host)).collect()
    }

    /// `localhost:port` of a further listener.
    pub fn address_of(&self, listener: &str) -> String {
        let port =
            self.brokers[0].ports.iter().find(|(name, _)| *name == listener).expect("a listener that was asked for").1;
        format!("localhost:{port}")
    }

    /// The folder of the first broker's settings and logs.
    pub fn folder(&self) -> &Path {
        &self.brokers[0].folder
    }

    /// Starts the brokers again, with the data that they had.
    pub fn resume(&mut self) {
        self.brokers.iter_mut().for_each(|broker| broker.start(&self.jars));
        self.brokers.iter_mut().for_each(|broker| broker.wait_until_it_answers(&self.host));
    }

    /// Starts one broker again, with the data that it had.
    pub fn resume_one(&mut self, broker: usize) {
        self.brokers[broker].start(&self.jars);
        self.brokers[broker].wait_until_it_answers(&self.host);
    }

    /// Ends the brokers in order; their data stay.
    pub fn stop(&mut self) {
        self.brokers.iter_mut().for_each(Broker::stop);
    }

    /// Kills the brokers; their data stay.
    pub fn kill(&mut self) {
        self.brokers.iter_mut().for_each(Broker::kill);
    }

    /// Kills one broker; its data stay.
    pub fn kill_one(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// Has one broker stand still, with all its connections open, until it is told to go on.
    pub fn freeze_one(&self, broker: usize) {
        self.brokers[broker].signal("-STOP");
    }

    /// Has a broker go on that stands still.
    pub fn thaw_one(&self, broker: usize) {
        self.brokers[broker].signal("-CONT");
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
}

impl Broker {
    fn address(&self, host: &str) -> String {
        format!("{host}:{}", self.port)
    }

    fn start(&mut self, jars: &Path) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/broker");
        let mut child = Command::new(script)
            .arg(jars)
            .arg(&self.folder)
            .args(&self.format)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("bash starts");
        let orders = child.stdin.take().expect("piped");
        self.process = Some(Process { child, orders });
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            writeln!(process.orders, "stop").expect("the script listens");
            process.child.wait().expect("it ends");
        }
    }

    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.folder.join("pid")).expect("the script writes it");
        let sent = Command::new("kill").args([signal, pid.trim()]).status().expect("kill runs");
        assert!(sent.success(), "no process {pid}");
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The script kills the broker when its input ends.
            drop(process.orders);
            let _ = process.child.wait();
        }
    }

    fn wait_until_it_answers(&mut self, host: &str) {
        let started = Instant::now();
        loop {
            if answers((host, self.port)).is_ok() {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.child.try_wait().ok().flatten());
            let log = || fs::read_to_string(self.folder.join("broker.log")).unwrap_or_default();
            let formatted = || fs::read_to_string(self.folder.join("format.log")).unwrap_or_default();
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

/// A port that nobody has, nor will a broker that this process or another one is about to start: whoever was given one holds the
/// lock of its file until the process ends. By default Linux gives no connection a port of this range.
fn free_port() -> u16 {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let cache = std::env::var_os("THALWEG_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/thalweg")));
    let folder = cache.expect("a home, or THALWEG_CACHE").join("ports");
    fs::create_dir_all(&folder).expect("a folder");
    let claimed = PORTS.into_iter().find_map(|port| {
        let claim = File::options().write(true).create(true).truncate(false).open(folder.join(port.to_string()));
        let claim = claim.expect("a file");
        let is_free = claim.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        is_free.then_some((port, claim))
    });
    let (port, claim) = claimed.expect("a free port");
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    port
}

/// Asks which requests are known (`ApiVersions`, version 0), which a broker answers to everybody. That somebody accepts a connection
/// says less: it may be closed before the first answer.
fn answers(address: (&str, u16)) -> io::Result<()> {
    const CORRELATION: [u8; 4] = *b"bed?";
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // Its length; the request, its version, what the answer repeats, and no client's name.
    let [a, b, c, d] = CORRELATION;
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, a, b, c, d, 0xff, 0xff])?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    if head[4..] == CORRELATION { Ok(()) } else { Err(io::Error::other("another answer")) }
}

fn settings(
    folder: &Path,
    (host, node): (&str, usize),
    brokers: &[Ports],
    listeners: &[Listener],
    ports: &[(&'static str, u16)],
) -> String {
    let join = |parts: Vec<String>| parts.into_iter().map(|part| format!(",{part}")).collect::<String>();
    let bound = join(ports.iter().map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect());
    let advertised = join(ports.iter().map(|(name, port)| format!("{name}://localhost:{port}")).collect());
    let protocols = join(listeners.iter().map(|one| format!("{}:{}", one.name, one.protocol)).collect());
    let more: String = listeners.iter().map(|listener| listener.properties.as_str()).collect();
    let data = folder.join("data");
    let Ports { plain: port, controller } = brokers[node];
    let voter = |(node, ports): (usize, &Ports)| format!("{node}@127.0.0.1:{}", ports.controller);
    let voters: Vec<_> = brokers.iter().enumerate().map(voter).collect();
    let voters = voters.join(",");
    // Of three copies two suffice.
    let (replicas, in_sync) = (brokers.len(), brokers.len().div_ceil(2));
    format!(
        "process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}{bound}
advertised.listeners=PLAINTEXT://{host}:{port}{advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
log.dirs={}
default.replication.factor={replicas}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
min.insync.replicas={in_sync}
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
