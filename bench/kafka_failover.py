"""One of two processors is killed: how soon is the output whole again?

Windows of a second, counted by key, stay open for as long as the fill of their input is long: every event has a key of its
own, so all of them are state, half of it the killed processor's. From then on an event each millisecond closes what the event
of a key so much earlier had opened. Both engines find a dead processor after 15 s.

The output is whole again when every row has come that was due when the processor was killed; that includes what both wait
for: a commit a second.
"""

import json
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import figures
from figures import Figure
from kafka_broker import Broker
from kafka_processor import PARTITIONS, THREADS, number, processor
from machine import BenchError, note

SILENCE_SECONDS = 15
# Rows come out for so long before the kill.
STEADY_SECONDS = 10
# How long events flow, and are watched, at the most.
FLOW_SECONDS, LIMIT_SECONDS = 240, 180
WINDOW_MILLIS = 1_000
# An event is in its partition so long after its turn, at the most.
FLOW_LAG_MILLIS = 100

SQL = """INSERT INTO found SELECT `key`, window_start, count(*) AS events
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(`at`), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, `key`"""


def figure(bench, manifests):
    """How much sooner than Kafka Streams; `manifests` are those of a pipeline of this SQL, watermark delay and broker."""
    held = number("HELD", 2_000_000)
    kinds = {"Kafka Streams": Streams, "Thalweg": Workers}
    runs = {name: [] for name in kinds}
    for turn in range(bench.repeats):
        for name, kind in kinds.items():
            note(f"failover, {name} ({turn + 1} of {bench.repeats})")
            runs[name].append(run(kind(bench, manifests), held))
    after = {name: figures.of(of_kind, "afterChange") for name, of_kind in runs.items()}
    said = "; ".join(
        f"{name} {after[name]:.2f} s ({figures.spread(of_kind, 'afterChange')}), "
        f"{figures.of(of_kind, 'afterKill'):.1f} s after the kill"
        for name, of_kind in runs.items()
    )
    return Figure(
        name="kafka-failover",
        title="output whole again, from when others are assigned what was lost",
        value=after["Kafka Streams"] / after["Thalweg"],
        bar=10.0,
        unit="×",
        remark=said,
        raw={"held": held, "runs": runs},
    )


def run(engine, held):
    """One kill, on a fresh broker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        broker = stack.enter_context(Broker(engine.bench.jars, folder / "broker"))
        broker.topics("make", PARTITIONS)
        broker.topics("spread", PARTITIONS, 0, held)
        both = engine.start(stack, broker, folder, held)
        for one in both:
            one.catch_up()
        watched = stack.enter_context(Lines(broker, "watch", PARTITIONS, FLOW_SECONDS))
        flow = stack.enter_context(Lines(broker, "flow", PARTITIONS, held, FLOW_SECONDS))
        flow.until(lambda lines: lines, "an event")
        began = int(flow.lines[0])
        watched.until(lambda lines: lines, "a row")
        time.sleep(STEADY_SECONDS)
        killed = time.time() * 1_000
        both[0].process.kill()
        due = int(killed - began - FLOW_LAG_MILLIS) // WINDOW_MILLIS * WINDOW_MILLIS
        changed = engine.changed(killed)
        rows = Rows(due)
        watched.until(rows.are_whole, "what was due")
    if rows.wrong:
        raise BenchError(f"rows that came twice or wrong: {rows.wrong[:5]}")
    found = {
        "afterKill": (rows.last - killed) / 1_000,
        "afterChange": (rows.last - changed) / 1_000,
        "detected": (changed - killed) / 1_000,
        "rows": due,
    }
    note(f"{engine.name}: {json.dumps(found)}")
    return found


class Rows:
    """The first rows of all, up to the one that was due last."""

    def __init__(self, due):
        self.due, self.read, self.come, self.last = due, 0, 0, 0
        self.found, self.wrong = set(), []

    def are_whole(self, lines):
        while self.read < len(lines):
            at, key, events = map(int, lines[self.read].split())
            self.read += 1
            if events != 1 or key in self.found:
                self.wrong.append(lines[self.read - 1])
            elif key < self.due:
                self.come += 1
                self.last = max(self.last, at)
            self.found.add(key)
        return self.come == self.due


class Lines:
    """An order of `Topics` that runs beside this, and what it has printed."""

    def __init__(self, broker, order, *words):
        command = broker.jars.java("dev.thalweg.bench.Topics", [order, broker.address, *map(str, words)])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines = []

    def __enter__(self):
        threading.Thread(target=lambda: self.lines.extend(line.strip() for line in self.process.stdout), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def until(self, come, what):
        until(lambda: come(self.lines), what)


def until(come, what):
    started = time.monotonic()
    while not (found := come()):
        if time.monotonic() - started > LIMIT_SECONDS:
            raise BenchError(f"{what}: not within {LIMIT_SECONDS} s")
        time.sleep(0.005)
    return found


class Streams:
    """Kafka Streams, without standby replicas, as by default."""

    name = "Kafka Streams"

    def __init__(self, bench, _):
        self.bench = bench

    def start(self, stack, broker, folder, held):
        self.log = folder / "streams-1.log"
        both = []
        for name in ("streams-0", "streams-1"):
            words = [broker.address, "hold", "exactly_once_v2", str(THREADS), str(folder / name), str(held // 1_000)]
            command = self.bench.jars.java("dev.thalweg.bench.Streams", words, ["-Xmx1g"])
            both.append(stack.enter_context(processor(command, folder / f"{name}.log")))
        return both

    def changed(self, killed):
        """When who is left gets what was lost."""

        def told():
            lines = (line.split() for line in self.log.read_text().splitlines())
            times = [int(line[0]) for line in lines if line[1:] == ["REBALANCING"]]
            return next((time for time in times if time > killed), None)

        return until(told, "another assignment")


class Workers:
    """Two workers and their coordinator."""

    name = "Thalweg"

    def __init__(self, bench, manifests):
        self.bench, self.manifests = bench, manifests

    def start(self, stack, broker, folder, held):
        thalweg, run = str(self.bench.binaries / "thalweg"), str(folder / "run")
        manifest = folder / "pipeline.json"
        manifest.write_text(json.dumps(self.manifests(broker.address, SQL, f"{held // 1_000}s")))
        self.assignment = folder / "run" / "default" / "bench" / "assignment" / "bench.json"
        words = ["--workers", "2", "--silence", str(SILENCE_SECONDS), "--state", str(folder / "state")]
        command = [thalweg, "dev-coordinator", "--folder", run, str(manifest), *words]
        stack.enter_context(processor(command, folder / "coordinator.log"))
        worker = [thalweg, "worker", "--folder", run, "--pipeline", "bench", "--threads", str(THREADS)]
        logs = [folder / "worker-0.log", folder / "worker-1.log"]
        both = [stack.enter_context(processor(worker, log)) for log in logs]
        until(lambda: len(self.owners()) == 2, "two workers that own units")
        return both

    def owners(self):
        """The slots that units are assigned to."""
        try:
            units = json.loads(self.assignment.read_text())["spec"]["units"]
        except FileNotFoundError:
            return set()
        return {unit["owner"] for unit in units if "owner" in unit}

    def changed(self, _):
        """When who is left gets what was lost: its file is replaced by a write."""
        until(lambda: len(self.owners()) == 1, "another assignment")
        return self.assignment.stat().st_mtime * 1_000
