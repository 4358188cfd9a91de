"""Runs in Flink's own virtual environment: one JVM, one job after the other, so that later ones are warm.

Reads one JSON object a line, `{"settings": {...}, "statements": [...], "insert": "..."}`, runs the statements, then the
insert to its end, and answers with the CPU-seconds that the JVM took for it and the seconds on the wall. The first line
that it writes says which JVM that is.
"""

import json
import os
import sys
import time

from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

# Everything else is as Flink comes: no checkpoints among it, which is to its advantage.
SETTINGS = {"parallelism.default": "1", "table.local-time-zone": "UTC"}


def jvm():
    """The process that the gateway talks to."""
    return int(get_gateway().jvm.java.lang.ProcessHandle.current().pid())


def cpu_seconds(pid):
    """User and system time of all its threads, those that have ended too."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment(more):
    configuration = Configuration()
    for key, value in {**SETTINGS, **more}.items():
        configuration.set_string(key, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration).build()
    return TableEnvironment.create(settings)


def run(request, pid):
    started, cpu = time.monotonic(), cpu_seconds(pid)
    tables = environment(request["settings"])
    for statement in request["statements"]:
        tables.execute_sql(statement)
    tables.execute_sql(request["insert"]).wait()
    return {"cpuSeconds": cpu_seconds(pid) - cpu, "seconds": time.monotonic() - started}


def reasons(error):
    """What was wrong, without the frames of Java."""
    lines = f"{type(error).__name__}: {error}".splitlines()
    return " ".join(line.strip() for line in lines if not line.startswith("\t"))[:2000]


def main():
    # Java and Flink write to standard output too: answers go where they cannot.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    pid = jvm()
    print(json.dumps({"pid": pid}), file=answers)
    for line in sys.stdin:
        try:
            answer = run(json.loads(line), pid)
        except Exception as error:  # The other side must hear of anything.
            answer = {"error": reasons(error)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
