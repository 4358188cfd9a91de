"""Thalweg: makes the data, says the cases as manifests, runs them as a process each."""

import json
import shutil
from pathlib import Path

from machine import BenchError, note, run

API = "thalweg.dev/v1alpha1"


class Thalweg:
    """The binary, and where it may write."""

    def __init__(self, binary, place, cache):
        self.binary, self.place, self.cache = binary, place, cache

    def beside(self, name):
        """The same in a place of its own, for runs at the same time."""
        return Thalweg(self.binary, self.place / name, self.cache)

    def version(self):
        return run([str(self.binary), "--version"])["out"].strip()

    def data(self, dataset, rows, files=1):
        """A folder of generated JSON lines, kept from run to run."""
        folder = self.cache / "data" / f"{dataset}-{rows}-{files}"
        done = folder / "done"
        if not done.exists():
            note(f"generating {rows:,} rows of {dataset} in {files} file{'s'[:files > 1]}")
            shutil.rmtree(folder, ignore_errors=True)
            arguments = [dataset, "--rows", str(rows), "--files", str(files), "--seed", "42", "--out", str(folder)]
            run([str(self.binary), "generate", *arguments])
            done.touch()
        return folder

    def run(self, case, data, sink=None, threads=1, state=None, pipeline=None, cores=None):
        """Runs a case over the JSON files of a folder; by default into a blackhole. Every row must have been good."""
        folder = self.place / "manifests" / case.name
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / "pipeline.json"
        manifest.write_text(json.dumps(resources(case, data, sink or {"blackhole": {}}, pipeline or {})))
        command = [str(self.binary), "run", str(manifest), "-o", "json", "--threads", str(threads)]
        ran = run(command + (["--state", str(state)] if state else []), cores)
        summary = json.loads(ran["out"].splitlines()[-1])
        source = summary["sources"][0]
        if source["late"] or source["bad"]:
            raise BenchError(f"{case.name}: rows were late or bad: {source}")
        commits = sum(stage["commits"] for stage in summary["stages"])
        commit_seconds = sum(stage["commitSeconds"] for stage in summary["stages"])
        kept = {key: ran[key] for key in ("cpuSeconds", "seconds", "others")}
        return {**kept, "rows": source["rows"], "commits": commits, "commitSeconds": commit_seconds}


def resources(case, data, sink, pipeline):
    """The manifests of a case, as one list that `kubectl apply` would take too."""
    schema = [{"name": name, "type": kind} for name, kind, _ in case.table.columns]
    watermark = {"column": case.table.time, "delay": f"{case.table.delay_seconds}s"}
    name, table = f"bench-{case.name}", case.table.name
    files = {"url": str(Path(data).resolve() / "*.json")}
    items = [
        resource("StreamSource", name, {"files": files, "schema": schema, "watermark": watermark}),
        resource("StreamSink", name, sink),
        resource(
            "StreamPipeline",
            name,
            {
                "sources": [{"name": name, "as": table}],
                "sinks": [{"name": name, "as": "found"}],
                "sql": f"INSERT INTO found {case.select}",
                **pipeline,
            },
        ),
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def resource(kind, name, spec):
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}
