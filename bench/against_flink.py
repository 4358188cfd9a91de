"""Both engines over the same files with the same SQL: the same rows, and events a CPU-second."""

import shutil

import figures
import flink
import rows
from cases import CASES
from figures import Figure
from machine import BenchError, note, warm

# Rows over which a result as large as the input is compared.
SMALL = 200_000
# Rows of an input that costs next to nothing: what is left is starting and ending.
TINY = 1_000
# Below this, Flink's start would flatter us.
ENOUGH = 1_000_000
# Runs of each case in Flink's JVM before those that count: compilers have done their work by then.
WARM_UP = 2


def measure(thalweg, python, settings, count, repeats, only):
    """All cases, one after the other, each figure as it is found; Flink keeps one JVM throughout."""
    session = flink.Session(python, thalweg.place / "flink.log", settings)
    try:
        for case in CASES:
            if not only or case.name in only:
                yield one(case, thalweg, session, count, repeats)
    finally:
        session.close()


def one(case, thalweg, session, count, repeats):
    compared = compare(case, thalweg, session, SMALL if case.compare_small else count)
    data = thalweg.data(case.table.dataset, count)
    file = data / f"{case.table.dataset}-00000.json"
    warm(file)
    for turn in range(WARM_UP):
        note(f"{case.name}: Flink, warming up ({turn + 1} of {WARM_UP})")
        session.run(case, file)
    ours, theirs = [], []
    for turn in range(repeats):
        note(f"{case.name}: Flink and Thalweg in turn ({turn + 1} of {repeats})")
        theirs.append(session.run(case, file))
        ours.append(thalweg.run(case, data))
        expect(case, ours[-1]["rows"], count)
    fixed = fixed_costs(case, thalweg, session)
    rate, flink_rate = count / figures.of(ours), count / figures.of(theirs)
    return Figure(
        name=case.name,
        title=case.title,
        value=rate / flink_rate if compared["equal"] else 0.0,
        bar=case.bar,
        unit="×",
        # Rows that differ are wrong however few they are.
        unreliable="too few rows: starting is most of it" if count < ENOUGH and compared["equal"] else "",
        remark=said(compared, rate, flink_rate, ours, theirs),
        raw={
            "sql": case.select.strip(),
            "events": count,
            "eventsPerCpuSecond": rate,
            "flinkEventsPerCpuSecond": flink_rate,
            "runs": ours,
            "flinkRuns": theirs,
            "fixedCpuSeconds": fixed,
            "compared": compared,
        },
    )


def said(compared, rate, flink_rate, ours, theirs):
    if not compared["equal"]:
        return "the result rows differ"
    rates = f"{rate / 1e6:.2f} M events a CPU-second ({figures.spread(ours)})"
    return f"{rates}, Flink {flink_rate / 1e3:.0f} K ({figures.spread(theirs)}); {compared['rows']:,} rows equal"


def compare(case, thalweg, session, count):
    """The result rows of both, each from files."""
    note(f"{case.name}: comparing the result of {count:,} rows")
    data = thalweg.data(case.table.dataset, count)
    ours, theirs = (thalweg.place / "rows" / case.name / engine for engine in ("thalweg", "flink"))
    for folder in (ours, theirs):
        shutil.rmtree(folder, ignore_errors=True)
    ran = thalweg.run(case, data, sink={"files": {"url": str(ours.resolve())}})
    expect(case, ran["rows"], count)
    session.run(case, data / f"{case.table.dataset}-00000.json", out=theirs)
    return rows.compare(rows.read(ours), rows.read(theirs))


def fixed_costs(case, thalweg, session):
    """CPU-seconds of starting, planning and ending: part of every figure, taken off nowhere."""
    data = thalweg.data(case.table.dataset, TINY)
    theirs = session.run(case, data / f"{case.table.dataset}-00000.json")
    return {"thalweg": thalweg.run(case, data)["cpuSeconds"], "flink": theirs["cpuSeconds"]}


def expect(case, found, count):
    if found != count:
        raise BenchError(f"{case.name}: {found:,} rows were read of {count:,}")
