#!/usr/bin/env python3
"""What `thalweg run` costs by itself: peak memory, a large pane, an idle watched folder, the time to the first row.

    bench/own.py                          # everything, 10 and 40 million rows
    bench/own.py --rows 1000000 --only memory,start

Prints each figure against its bar, and writes target/bench-own.json; beside it bench-own-moments.json, with what each run held at
which moment. Standard library only; Linux.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PEAK_MB, IDLE_RSS_MB, IDLE_ANON_MB, START_MS = 300, 60, 20, 200
# Peaks of one run differ by some megabytes with the timing of threads.
NOISE_MB = 15
# Each of eight units keeps the row group of its Parquet file open: GROUP_ROWS of worker/connectors/src/formats/encode/parquet.rs.
GROUP_ROWS, UNITS = 1 << 17, 8
PANE_KEYS = 5_000_000
IDLE_SECONDS = 15

BIDS = """
kind: StreamSource
metadata: {{ name: bids }}
apiVersion: thalweg.dev/v1alpha1
spec:
  files: {{ url: "{url}"{files} }}
  {format}
  schema:
    - {{ name: auction, type: BIGINT }}
    - {{ name: bidder, type: BIGINT }}
    - {{ name: price, type: BIGINT }}
    - {{ name: channel, type: STRING }}
    - {{ name: url, type: STRING }}
    - {{ name: at, type: TIMESTAMP(3), from: dateTime }}
    - {{ name: extra, type: STRING }}
  watermark: {{ column: at, delay: 1s{idle} }}
"""
TRIPS = """
kind: StreamSource
metadata: {{ name: trips }}
apiVersion: thalweg.dev/v1alpha1
spec:
  files: {{ url: "{url}" }}
  format: {{ parquet: {{}} }}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: at, type: TIMESTAMP(3), from: pickup_datetime }}
  watermark: {{ column: at, delay: 1s }}
"""
SINK = """
---
kind: StreamSink
apiVersion: thalweg.dev/v1alpha1
metadata: {{ name: out }}
spec:
  {sink}
---
kind: StreamPipeline
apiVersion: thalweg.dev/v1alpha1
metadata: {{ name: own }}
spec:
  sources: [{{ name: {source} }}]
  sinks: [{{ name: out }}]
  sql: "{sql}"
  {state}
"""
PASS = "INSERT INTO out SELECT auction, bidder, price, channel, url, at, extra FROM bids"
KEYED = (
    "INSERT INTO out SELECT window_start, auction, count(*) AS bids, max(price) AS price "
    "FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(at), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, auction"
)
PANE = (
    "INSERT INTO out SELECT window_start, trip_id, count(*) AS trips "
    "FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '365' DAY)) GROUP BY window_start, window_end, trip_id"
)
# Of the usual five seconds between commits the run of few rows sees none.
COMMITS = "state: { commitEvery: 1s }"
FORMATS = {"json": "format: { json: {} }", "parquet": "format: { parquet: {} }"}


class Bench:
    """Runs the binary and keeps what it measured."""

    def __init__(self, binary, work, source):
        self.binary, self.work, self.source, self.figures = binary, work, source, []
        # Of each run whose peak is judged: MB that are resident, and how many of them are pages of files, each 50 ms.
        self.moments = {}

    def figure(self, name, value, unit, bar=None):
        """Notes a figure, and prints it against its bar: the most that it may be."""
        passed = bar is None or value <= bar
        self.figures.append({"name": name, "value": round(value, 1), "unit": unit, "bar": bar, "pass": passed})
        against = "" if bar is None else f"  bar {bar:>6.0f}  {'pass' if passed else 'FAIL'}"
        print(f"{name:<52} {value:>9.1f} {unit:<3}{against}", flush=True)

    def generate(self, dataset, rows, files, form="json"):
        """The folder of a dataset, made once."""
        folder = self.work / f"{dataset}-{rows}-{files}-{form}"
        if not folder.exists():
            half = folder.with_suffix(".part")
            shutil.rmtree(half, ignore_errors=True)
            words = ["--rows", rows, "--files", files, "--format", form, "--seed", 7, "--out", half]
            subprocess.run([self.binary, "generate", dataset, *map(str, words)], check=True, stderr=subprocess.DEVNULL)
            half.rename(folder)
        return folder

    def manifest(self, source, sql, sink, form, **fields):
        """A folder to run in, with one pipeline."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.work))
        given = {"files": "", "idle": "", "state": "", "format": FORMATS["json"], **fields}
        text = {"bids": BIDS, "trips": TRIPS}[source].format(**given)
        text += SINK.format(source=source, sql=sql, sink=f"{sink}\n  {form}" if form else sink, state=given["state"])
        (folder / "own.yaml").write_text(text)
        return folder

    def run(self, folder, state):
        """Runs to the end: the peak of resident memory in MB, the summary, and what was resident each 50 ms."""
        words = [self.binary, "run", "own.yaml", "-o", "json"]
        words += ["--state", "state"] if state else []
        with open(folder / "summary", "w+") as out:
            process = subprocess.Popen(words, cwd=folder, stdout=out, stderr=subprocess.DEVNULL)
            moments, ended = [], 0
            while not ended:
                moments.append(resident_mb(process.pid))
                time.sleep(0.05)
                ended, status, used = os.wait4(process.pid, os.WNOHANG)
            out.seek(0)
            lines = out.read().splitlines()
        if status != 0:
            sys.exit(f"thalweg run failed in {folder}: {status}")
        shutil.rmtree(folder)
        return used.ru_maxrss / 1024, json.loads(lines[-1]), moments


def resident_mb(pid):
    """What a process holds now, and how much of it are pages of files (proc_pid_statm(5): resident, shared)."""
    resident, files = map(int, pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return tuple(round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1) for pages in (resident, files))


def memory(bench, rows):
    """Peaks on few and on many rows, for each shape of pipeline.

    Side by side, each file has a watermark of its own, and the slowest holds the windows of all open: that state grows with
    the files by definition, so the bar is that of a large pane. Everywhere else nothing may grow: a run of few rows may be
    over before it reaches its level, so the last quarter of a long one is held against its middle.
    """
    one_lane = ", order: ByName, lanes: 1"
    cases = [
        ("window, 1 file, json", KEYED, 1, "", "json", False),
        ("window, 1 file, json, state", KEYED, 1, "", "json", True),
        ("window, 8 files in turn, parquet, state", KEYED, 8, one_lane, "parquet", True),
        ("window, 8 files, parquet, state", KEYED, 8, "", "parquet", True),
        ("pass, 1 file, json", PASS, 1, "", "json", False),
        ("pass, 8 files, json, state", PASS, 8, "", "json", True),
        ("pass, 8 files, parquet", PASS, 8, "", "parquet", False),
        ("pass, 8 files, parquet, state", PASS, 8, "", "parquet", True),
    ]
    for name, sql, count, order, form, state in cases:
        fewer = None
        for many in rows:
            data = bench.generate("nexmark", many, count, bench.source)
            url = f"{data}/*.{bench.source}"
            written = {"files": order, "format": FORMATS[bench.source], "state": COMMITS if state else ""}
            folder = bench.manifest("bids", sql, "files: { url: out }", FORMATS[form], url=url, **written)
            peak, summary, moments = bench.run(folder, state)
            levels = [resident for resident, _ in moments]
            held = summary["stages"][-1].get("stateBytes", 0) / 1e6
            beside = f", {held:.0f} MB of state" if held >= NOISE_MB else ""
            title = f"{name}, {many / 1e6:g} M rows"
            bench.figure(f"peak, {title}{beside}", peak, "MB", PEAK_MB + held)
            bench.moments[title] = moments
            # Of a run that is four times as long the highest moment is the highest of four times as many.
            level = sorted(levels)[len(levels) * 19 // 20]
            if fewer is not None and not beside and not is_open:
                bench.figure("  nineteen moments of twenty, against fewer rows", level, "MB", fewer + NOISE_MB)
            fewer = level
            # A run that has filled no row group is below its level, which is reached and left as groups fill.
            is_open = form == "parquet" and summary["stages"][-1]["rows"] < GROUP_ROWS * UNITS
            if many == max(rows) and not beside:
                quarter = len(levels) // 4
                before, last = max(levels[quarter:-quarter], default=peak), max(levels[-quarter:], default=peak)
                bench.figure("  its last quarter against its middle", last, "MB", before + NOISE_MB)


def pane(bench, _rows):
    """One pane of very many keys."""
    data = bench.generate("taxi", PANE_KEYS, 1, "parquet")
    for state in (False, True):
        folder = bench.manifest("trips", PANE, "files: { url: out }", FORMATS["json"], url=f"{data}/*.parquet")
        peak, summary, _ = bench.run(folder, state)
        held = summary["stages"][-1]["stateBytes"] / 1e6
        if summary["stages"][-1]["rows"] < PANE_KEYS:
            sys.exit(f"the pane gave {summary['stages'][-1]['rows']} rows")
        name = f"peak, a pane of {PANE_KEYS / 1e6:g} M keys{', state' if state else ''}"
        bench.figure(f"  its state{', state' if state else ''}", held, "MB")
        bench.figure(name, peak, "MB", PEAK_MB + held)


def idle(bench, _rows):
    """A watched folder that was read, and in which nothing happens."""
    data = bench.generate("nexmark", 200_000, 2)
    watched = f"{data}/*.json"
    for state in (False, True):
        folder = bench.manifest(
            "bids", KEYED, "files: { url: out }", FORMATS["json"], url=watched, files=", watch: 5s", idle=", idleAfter: 1s"
        )
        words = [bench.binary, "run", "own.yaml", *(["--state", "state"] if state else [])]
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(IDLE_SECONDS)
        before = cpu_seconds(process.pid)
        time.sleep(5)
        busy = (cpu_seconds(process.pid) - before) / 5
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder)
        of = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss") or "VmRSS" in line}
        suffix = ", state" if state else ""
        bench.figure(f"idle watched folder{suffix}: RSS", int(of["VmRSS"]) / 1024, "MB", IDLE_RSS_MB)
        bench.figure(f"idle watched folder{suffix}: anonymous", int(of["RssAnon"]) / 1024, "MB", IDLE_ANON_MB)
        bench.figure(f"idle watched folder{suffix}: of a core", busy * 100, "%")


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(bench, _rows):
    """From the start of the process to the first row on standard output."""
    data = bench.generate("nexmark", 1_000, 1)
    for state in (False, True):
        took = []
        for _ in range(15):
            folder = bench.manifest("bids", PASS, "stdout: { style: Json }", "", url=f"{data}/*.json")
            words = [bench.binary, "run", "own.yaml", *(["--state", "state"] if state else [])]
            began = time.monotonic()
            process = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            process.stdout.read(1)
            took.append((time.monotonic() - began) * 1e3)
            process.stdout.read()
            process.wait()
            shutil.rmtree(folder)
        # With state the first row waits for some thirty files to be durable: that is the disk's time.
        bar = None if state else START_MS
        bench.figure(f"start to first row{', state' if state else ''}: median of 15", statistics.median(took), "ms", bar)


PARTS = {"start": start, "idle": idle, "pane": pane, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=TARGET / "debug/thalweg")
    parser.add_argument("--rows", default="10000000,40000000", help="sizes for the peaks of memory")
    parser.add_argument("--source", default="json", choices=FORMATS, help="what is read for them; parquet takes 3 GB of disk")
    parser.add_argument("--only", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--data", default=TARGET / "bench-own", help="where data is kept; 17 GB for all")
    parser.add_argument("--json", default=ROOT / "target/bench-own.json")
    words = parser.parse_args()
    work = pathlib.Path(words.data).resolve()
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(pathlib.Path(words.binary).resolve(), work, words.source)
    rows = [int(count) for count in words.rows.split(",")]
    for name in words.only.split(","):
        PARTS[name](bench, rows)
    out = pathlib.Path(words.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": {"cpus": os.cpu_count()}, "figures": bench.figures}, indent=2) + "\n")
    out.with_name(f"{out.stem}-moments.json").write_text(json.dumps(bench.moments) + "\n")
    sys.exit(0 if all(figure["pass"] for figure in bench.figures) else 1)


if __name__ == "__main__":
    main()
