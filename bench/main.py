"""`make bench`: Thalweg against Flink and against its own parts, each figure against its bar. Ends with 1 where a bar is missed, with 2 where
a figure means nothing on this machine now.

ROWS         rows of each dataset (4,000,000)
STATE_ROWS   rows for the cost of state: long enough for several commits (five times ROWS)
REPEATS      runs that count, of each kind (5)
ONLY         names of cases, by commas; all without it
FLINK        settings of Flink beyond its defaults: pipeline.object-reuse=true,…
THALWEG_CACHE  where Flink and the data are kept (~/.cache/thalweg)
"""

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

import against_flink
import against_self
import figures
import flink
from cases import CASES
from machine import BenchError, facts, note, run
from thalweg import Thalweg

SELF = ("parquet", "state", "cores-4-files", "cores-1-file")


def main():
    binaries = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "debug"
    cache = Path(os.environ.get("THALWEG_CACHE") or Path.home() / ".cache" / "thalweg")
    place = Path("target/bench")
    place.mkdir(parents=True, exist_ok=True)
    rows, repeats = number("ROWS", 4_000_000), number("REPEATS", 5)
    only = chosen()
    thalweg = Thalweg(binaries / "thalweg", place, cache)
    with_flink = bool(not only or only & {case.name for case in CASES})
    found = []
    try:
        report = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(thalweg, with_flink),
            "machine": facts(),
            "flinkSettings": flink_settings(),
            "rows": rows,
            "repeats": repeats,
        }
        for figure in measured(thalweg, binaries, rows, repeats, only, with_flink):
            found.append(figure)
            note(figures.line(figure))
            keep({**report, "figures": [figure.to_json() for figure in found]})
    except BenchError as error:
        sys.exit(f"error: {error}")
    print(figures.table(found))
    machine = report["machine"]
    load = machine["loadAverage"][0]
    print(f"{machine['cores']} cores, load average {load:.1f} at the start; raw figures in target/bench.json")
    verdicts = {figure.verdict for figure in found}
    sys.exit(1 if "FAIL" in verdicts else 2 if "unreliable" in verdicts else 0)


def keep(report):
    """Written after each figure, so that a run that is cut short has told what it found."""
    Path("target/bench.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured(thalweg, binaries, rows, repeats, only, with_flink):
    """Every figure that was asked for."""
    if with_flink:
        cache = thalweg.cache
        yield from against_flink.measure(thalweg, flink.install(cache), flink_settings(), rows, repeats, only)
    measures = {
        "parquet": lambda: against_self.parquet(thalweg, binaries / "examples" / "parts", rows, repeats),
        "state": lambda: against_self.state(thalweg, number("STATE_ROWS", 5 * rows), repeats),
        "cores-4-files": lambda: against_self.cores(thalweg, rows, repeats, 4),
        "cores-1-file": lambda: against_self.cores(thalweg, rows, repeats, 1),
    }
    for name, measure in measures.items():
        if not only or name in only:
            yield measure()


def chosen():
    only = {name for name in os.environ.get("ONLY", "").split(",") if name}
    known = [case.name for case in CASES] + list(SELF)
    if not only <= set(known):
        sys.exit(f"error: ONLY: expected some of {', '.join(known)}")
    return only


def flink_settings():
    written = os.environ.get("FLINK", "")
    return dict(pair.split("=", 1) for pair in written.split(",") if "=" in pair)


def number(name, default):
    text = os.environ.get(name) or str(default)
    try:
        found = int(text.replace("_", ""))
    except ValueError:
        found = 0
    if found < 1:
        sys.exit(f"error: {name}: expected a whole number of at least 1, found {text}")
    return found


def versions(thalweg, with_flink):
    commit = run(["git", "rev-parse", "--short", "HEAD"])["out"].strip()
    found = {"thalweg": thalweg.version(), "commit": commit, "python": sys.version.split()[0]}
    if with_flink:
        found |= {"flink": flink.VERSION, "java": flink.check_java()}
    return found


if __name__ == "__main__":
    note("what counts is CPU-seconds, in turns, as medians: other work on the machine disturbs these least")
    main()
