"""One broker for one run, and the jars of Kafka, of Kafka Streams and of what fills topics."""

import os
import socket
import subprocess
import time
from hashlib import sha256
from pathlib import Path

from machine import BenchError, note

HERE = Path(__file__).resolve().parent
E2E = HERE.parent / "e2e" / "kafka"
STREAMS = HERE / "kafka-streams"
# How long a broker may take until it answers.
START_SECONDS = 90

SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.max.session.timeout.ms=600000
"""


class Jars:
    """What Java programs are made of."""

    def __init__(self, kafka, streams):
        self.kafka, self.streams = kafka, streams

    def java(self, name, words, options=()):
        path = f"{self.streams}/classes:{self.streams}/jars/*"
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        return ["java", "-XX:-UsePerfData", *options, quiet, "-cp", path, name, *words]


def jars():
    """Fetches and compiles what is not there yet."""
    kafka = subprocess.run([E2E / "fetch"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    cache = Path(os.environ.get("THALWEG_CACHE") or Path.home() / ".cache" / "thalweg")
    sources = sorted(STREAMS.rglob("*.java"))
    made_of = b"".join(path.read_bytes() for path in [STREAMS / "pom.xml", *sources])
    folder = cache / f"kafka-streams-{sha256(made_of).hexdigest()[:12]}"
    if not (folder / "done").exists():
        note("fetching Kafka Streams")
        copy = ["mvn", "-q", "-B", "-f", STREAMS / "pom.xml", "dependency:copy-dependencies"]
        subprocess.run([*copy, f"-DoutputDirectory={folder}/jars"], check=True)
        subprocess.run(["javac", "-d", folder / "classes", "-cp", f"{folder}/jars/*", *sources], check=True)
        (folder / "done").touch()
    return Jars(kafka, folder)


class Broker:
    """A broker of its own, on free ports, that ends with the block."""

    def __init__(self, jars, folder):
        self.jars, self.folder = jars, folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.folder.mkdir(parents=True)
        settings = SETTINGS.format(port=self.port, controller=free_port(), folder=self.folder)
        (self.folder / "server.properties").write_text(settings)
        (self.folder / "cluster-id").write_text("dGhhbHdlZy1lMmUtYmVkMQ")
        self.process = subprocess.Popen([E2E / "broker", self.jars.kafka, self.folder], stdin=subprocess.PIPE)
        started = time.monotonic()
        while not answers(self.port):
            if self.process.poll() is not None or time.monotonic() - started > START_SECONDS:
                self.__exit__()
                raise BenchError(f"the broker does not answer: {(self.folder / 'broker.log').read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        # The script kills the broker when its input ends.
        self.process.stdin.close()
        self.process.wait()

    def topics(self, order, *words):
        """Runs an order of `Topics`; what it printed."""
        command = self.jars.java("dev.thalweg.bench.Topics", [order, self.address, *map(str, words)])
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]
