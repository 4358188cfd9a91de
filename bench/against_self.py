"""Thalweg against its own parts: what writing, state and a second core cost or give."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import figures
from cases import CASES
from figures import Figure
from machine import note, run, warm

BY_NAME = {case.name: case for case in CASES}
# Others may take this part of the machine before a figure that depends on the wall's clock means nothing.
QUIET = 0.05
# By so much may a median be off, as part of itself, before a ratio of two says nothing of the second digit behind the point.
SURE = 0.025
# Less than this of two cores' work, and the machine has no two cores to give.
GIVEN = 1.9


def parquet(thalweg, parts, count, repeats):
    """JSON → Parquet against decoding and writing, each for itself."""
    data = thalweg.data("nexmark", count)
    warm(data / "nexmark-00000.json")
    halves, wholes = [], []
    out = thalweg.place / "parquet"
    sink = {"files": {"url": str(out.resolve())}, "format": {"parquet": {}}}
    for turn in range(repeats):
        note(f"parquet: the parts and the whole in turn ({turn + 1} of {repeats})")
        shutil.rmtree(out, ignore_errors=True)
        halves.append(json.loads(run([str(parts), str(data / "nexmark-00000.json"), str(out)])["out"]))
        shutil.rmtree(out, ignore_errors=True)
        wholes.append(thalweg.run(BY_NAME["pass"], data, sink=sink))
    shutil.rmtree(out, ignore_errors=True)
    decode, write = figures.of(halves, "decodeCpuSeconds"), figures.of(halves, "writeCpuSeconds")
    whole = figures.of(wholes)
    rates = f"decode {count / decode / 1e6:.2f}, write {count / write / 1e6:.2f}, both {count / whole / 1e6:.2f}"
    return Figure(
        name="parquet",
        title="JSON → Parquet (zstd), of 1/(1/decode + 1/write)",
        value=(decode + write) / whole,
        bar=0.9,
        unit="%",
        remark=f"{rates} M rows a CPU-second ({figures.spread(wholes)})",
        raw={"events": count, "parts": halves, "runs": wholes},
    )


def state(thalweg, count, repeats):
    """A keyed stage of eight groups that commits each second, against the same without a state folder."""
    case = BY_NAME["tumble-bids-by-auction"]
    data = thalweg.data("nexmark", count)
    warm(data / "nexmark-00000.json")
    pipeline = {"state": {"commitEvery": "1s", "keyGroups": 8}}
    folder = thalweg.place / "state"
    shutil.rmtree(folder, ignore_errors=True)
    without, durable = [], []
    # Both take seconds, and differ by less than two runs of one of them may: their medians want some more.
    repeats *= 3
    for turn in range(repeats):
        note(f"state: without and with in turn ({turn + 1} of {repeats})")
        without.append(thalweg.run(case, data, pipeline=pipeline))
        # Another folder each time, and none is deleted meanwhile: ext4 does not take the inode of a file that was deleted
        # minutes ago, and looks at each of those before it makes a file. That was a fifth of the cost that is measured here.
        durable.append(thalweg.run(case, data, pipeline=pipeline, state=folder / str(turn)))
    shutil.rmtree(folder, ignore_errors=True)
    commits, seconds = figures.of(durable, "commits"), figures.of(durable, "seconds")
    # Commits come by the clock on the wall: the longer others make a run, the more of them it pays for.
    others = max(figures.of(without, "others"), figures.of(durable, "others"))
    ratios = sorted(a["cpuSeconds"] / b["cpuSeconds"] - 1 for a, b in zip(durable, without))
    return Figure(
        name="state",
        title="--state, commits each second, 8 key groups: cost in CPU",
        value=figures.of(durable) / figures.of(without) - 1,
        bar=0.05,
        unit="%",
        at_least=False,
        unreliable=busy(others) if others > QUIET else "",
        remark=f"{figures.of(without):.2f} → {figures.of(durable):.2f} CPU-seconds, {commits:.0f} commits in "
        f"{seconds:.1f} s; by pair {ratios[0]:+.1%}…{ratios[-1]:+.1%}",
        raw={"events": count, "others": others, "runs": durable, "runsWithout": without},
    )


def cores(thalweg, count, repeats, files):
    """Two cores and two threads against one of each, by the clock on the wall.

    Beside it stands what the machine gives: two processes at once, each on a core of its own, against one. Where virtual cores share
    a real one, or the host has other work, that is far below two, and no two threads can be above it.
    """
    name = f"cores-{files}-file{'s'[:files > 1]}"
    title = f"two cores against one, {f'{files} files' if files > 1 else 'one file'}"
    case = BY_NAME["tumble-bids-by-auction"]
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return Figure(name, title, 0.0, 1.8, "×", unreliable="this machine has one core")
    data = thalweg.data("nexmark", count, files)
    for file in data.glob("*.json"):
        warm(file)
    one, two, both = [], [], []
    # They last a third of a second, and their medians want many.
    repeats *= 9
    for turn in range(repeats):
        note(f"{name}: one core and two in turn ({turn + 1} of {repeats})")
        one.append(thalweg.run(case, data, threads=1, cores=available[:1]))
        two.append(thalweg.run(case, data, threads=2, cores=available[:2]))
        both.append(at_once(thalweg, case, data, available[:2]))
    others = max(figures.of(one, "others"), figures.of(two, "others"))
    seconds, pair = figures.of(one, "seconds"), figures.of(two, "seconds")
    given = 2 * seconds / figures.of(both, "seconds")
    amiss = busy(others) if others > QUIET else ""
    if given < GIVEN:
        amiss = f"two processes at once, each on a core of its own, do {given:.2f} × the work of one here"
    if (off := max(figures.uncertainty(runs, "seconds") for runs in (one, two))) > SURE:
        amiss = f"runs lie so far apart that their median may be {off:.1%} off"
    return Figure(
        name=name,
        title=title,
        value=seconds / pair,
        bar=1.8,
        unit="×",
        unreliable=amiss,
        remark=f"{seconds:.2f} → {pair:.2f} s; two processes at once {given:.2f} ×",
        raw={"events": count, "others": others, "one": one, "two": two, "atOnce": both},
    )


def at_once(thalweg, case, data, cores):
    """Two runs of one thread, each on its core; how long both took."""
    places = [thalweg.beside(f"core-{core}") for core in cores]
    with ThreadPoolExecutor(len(cores)) as pool:
        runs = [pool.submit(place.run, case, data, threads=1, cores=[core]) for place, core in zip(places, cores)]
        return {"seconds": max(run.result()["seconds"] for run in runs)}


def busy(others):
    return f"others took {others:.0%} of the machine, load average {os.getloadavg()[0]:.1f}"
