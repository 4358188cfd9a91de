"""`make bench-kafka`: Thalweg and Kafka Streams on one broker, by turns, with equal commit intervals of a second.

What counts is events a CPU-second of the processor, from when it has caught up with a first part of its input (its
compilers and caches are warm then) to when it has caught up with the rest. It is stopped while topics are filled, so both
engines find the same work waiting.

EVENTS     records of 1,000 bytes that count (1,000,000)
WARM       records before those (300,000)
REPEATS    runs of each kind (3)
ONLY       names of figures, by commas: bytes, json, count, promise, client, failover
HELD       windows that are open when a processor is killed (2,000,000)
THALWEG_CACHE  where jars are kept (~/.cache/thalweg)
"""

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import figures
import kafka_failover
from figures import Figure
from kafka_broker import Broker, jars
from kafka_processor import PARTITIONS, THREADS, number, processor
from machine import BenchError, facts, note
from thalweg import resource

COMMIT_EVERY = "1s"

COLUMNS = [("key", "STRING"), ("n", "BIGINT"), ("at", "TIMESTAMP(3)"), ("pad", "STRING")]
COPY = "SELECT `key`, n, `at`, pad FROM events"
COUNT = """SELECT `key`, window_start, count(*) AS events
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(`at`), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, `key`"""


class Bench:
    """Binaries, and how much is measured."""

    def __init__(self):
        self.binaries = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "debug"
        self.events, self.warm = number("EVENTS", 1_000_000), number("WARM", 300_000)
        self.repeats = number("REPEATS", 3)
        self.jars = jars()

    def ours(self, select, delivery="ExactlyOnce"):
        """How Thalweg is started."""

        def command(broker, folder):
            manifest = folder / "pipeline.json"
            manifest.write_text(json.dumps(resources(broker.address, f"INSERT INTO found {select}", delivery)))
            words = [str(self.binaries / "thalweg"), "run", str(manifest), "--threads", str(THREADS)]
            return words + (["--state", str(folder / "state")] if select == COUNT else [])

        return command

    def theirs(self, case):
        """How Kafka Streams is started."""

        def command(broker, folder):
            words = [broker.address, case, "exactly_once_v2", str(THREADS), str(folder / "streams")]
            return self.jars.java("dev.thalweg.bench.Streams", words, ["-Xmx1g"])

        return command

    def client(self):
        """How the client alone is started: records in, records out, in transactions."""
        return lambda broker, _: [str(self.binaries / "examples" / "kafka_copy"), broker.address, str(PARTITIONS)]

    def run(self, name, command):
        """One processor over fresh topics on a fresh broker."""
        with TemporaryDirectory() as folder, Broker(self.jars, Path(folder) / "broker") as broker:
            broker.topics("make", PARTITIONS)
            broker.topics("fill", 0, self.warm)
            with processor(command(broker, Path(folder)), Path(folder) / f"{name}.log") as process:
                process.catch_up()
                process.hold()
                broker.topics("fill", self.warm, self.warm + self.events)
                ran = process.catch_up()
                # Kafka Streams gives windows out once a second, when records come: by now it will.
                broker.topics("close", PARTITIONS, self.warm + self.events)
                process.catch_up()
            found = json.loads(broker.topics("look", PARTITIONS))
        rate = self.events / ran["cpuSeconds"]
        note(f"{name}: {rate:,.0f} events a CPU-second, {ran['cpuSeconds']:.1f} CPU-seconds; {found}")
        return {**ran, **found, "rate": rate}

    def by_turns(self, kinds):
        """Runs of several kinds, in turn."""
        runs = {name: [] for name in kinds}
        for turn in range(self.repeats):
            for name, command in kinds.items():
                note(f"{name} ({turn + 1} of {self.repeats})")
                runs[name].append(self.run(name, command))
        return runs

    def copied(self, runs):
        """Every record must be there, once."""
        wanted = self.warm + self.events + PARTITIONS
        for run in runs:
            if run["rows"] != wanted:
                raise BenchError(f"{wanted:,} records were expected, and {run['rows']:,} are there")

    def counted(self, runs):
        """Every record must be counted, once."""
        wanted = self.warm + self.events
        for run in runs:
            if run["events"] != wanted:
                raise BenchError(f"{wanted:,} records were to be counted, and {run['events']:,} were")


def measured(bench, only):
    """The figures that were asked for."""
    wanted = lambda name: not only or name in only
    if wanted("bytes"):
        title = "pass-through of 1 KB records, Kafka Streams copying bytes"
        yield against(bench, "bytes", title, 4.0, COPY, bench.copied)
    if wanted("json"):
        title = "pass-through of 1 KB records, both reading and writing JSON"
        yield against(bench, "json", title, 4.0, COPY, bench.copied)
    if wanted("count"):
        yield against(bench, "count", "10 s windowed count by key", 5.0, COUNT, bench.counted)
    if wanted("promise"):
        yield promise(bench)
    if wanted("client"):
        yield client(bench)
    if wanted("failover"):
        yield kafka_failover.figure(bench, waiting)


def against(bench, case, title, bar, select, check):
    runs = bench.by_turns({f"{case}, Kafka Streams": bench.theirs(case), f"{case}, Thalweg": bench.ours(select)})
    theirs, ours = runs.values()
    check(theirs + ours)
    return figure(f"kafka-{case}", title, bar, "×", runs, lambda theirs, ours: ours / theirs)


def promise(bench):
    kinds = {"at least once": bench.ours(COPY, "AtLeastOnce"), "exactly once": bench.ours(COPY)}
    runs = bench.by_turns(kinds)
    bench.copied(sum(runs.values(), []))
    cost = lambda least, exactly: least / exactly - 1
    return figure("kafka-promise", "exactly once against at least once", 0.05, "%", runs, cost, at_least=False)


def client(bench):
    runs = bench.by_turns({"client alone": bench.client(), "Thalweg": bench.ours(COPY)})
    bench.copied(sum(runs.values(), []))
    return figure("kafka-client", "pass-through against the client alone", 0.7, "%", runs, lambda bare, ours: ours / bare)


def figure(name, title, bar, unit, runs, compare, at_least=True):
    rates = {kind: figures.of(of_kind, "rate") for kind, of_kind in runs.items()}
    said = "; ".join(f"{kind} {rate:,.0f} ({figures.spread(runs[kind], 'rate')})" for kind, rate in rates.items())
    others = max(run["others"] for of_kind in runs.values() for run in of_kind)
    return Figure(
        name=name,
        title=title,
        value=compare(*rates.values()),
        bar=bar,
        unit=unit,
        at_least=at_least,
        remark=f"events a CPU-second: {said}; other work at most {others:.0%}",
        raw={"eventsPerCpuSecond": rates, "runs": runs},
    )


def waiting(broker, sql, delay):
    """Manifests of a pipeline whose windows stay open for so long."""
    return resources(broker, sql, "ExactlyOnce", delay)


def resources(broker, sql, delivery, delay="1s"):
    kafka = lambda topic: {"brokers": [broker], "topic": topic}
    source = {
        "kafka": kafka("in"),
        "format": {"json": {"timestampFormat": "EpochMillis"}},
        "schema": [{"name": name, "type": kind} for name, kind in COLUMNS],
        "watermark": {"column": "at", "delay": delay},
    }
    pipeline = {
        "sources": [{"name": "events"}],
        "sinks": [{"name": "found"}],
        "sql": sql,
        "delivery": delivery,
        "state": {"commitEvery": COMMIT_EVERY},
    }
    items = [
        resource("StreamSource", "events", source),
        resource("StreamSink", "found", {"kafka": {**kafka("out"), "key": ["key"]}}),
        resource("StreamPipeline", "bench", pipeline),
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def main():
    bench, found = Bench(), []
    only = {name for name in os.environ.get("ONLY", "").split(",") if name}
    Path("target").mkdir(exist_ok=True)
    report = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": facts(),
        "kafka": "4.3.1",
        "events": bench.events,
        "warm": bench.warm,
        "repeats": bench.repeats,
        "commitEvery": COMMIT_EVERY,
        "threads": THREADS,
        "partitions": PARTITIONS,
    }
    try:
        for figure in measured(bench, only):
            found.append(figure)
            note(figures.line(figure))
            text = json.dumps({**report, "figures": [figure.to_json() for figure in found]}, indent=1)
            Path("target/bench-kafka.json").write_text(text + "\n", encoding="utf-8")
    except BenchError as error:
        sys.exit(f"error: {error}")
    print(figures.table(found))
    print("raw figures in target/bench-kafka.json")
    sys.exit(any(figure.verdict == "FAIL" for figure in found))


if __name__ == "__main__":
    main()
