"""The machine: facts, CPU time of children, and how much of the machine others take."""

import os
import platform
import subprocess
import sys
import tempfile
import time


class BenchError(Exception):
    """Something that the reader can do something about."""


def note(text):
    """Progress, for people."""
    print(f"── {text}", file=sys.stderr, flush=True)


def facts():
    """What figures depend on; neither names nor paths."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "loadAverage": os.getloadavg(),
    }


def cpu_model():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        return next(names, platform.machine())


def run(command, cores=None, env=None):
    """Runs a command to its end. CPU-seconds are its own and its children's, from the kernel's accounts."""
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    busy, started = busy_seconds(), time.monotonic()
    with tempfile.TemporaryFile("w+") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True, preexec_fn=pin, env=env)
        with process.stdout:
            out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        written.seek(0)
        errors = written.read()
    seconds = time.monotonic() - started
    if process.returncode != 0:
        shown = " ".join(command)
        raise BenchError(f"{shown}: exit code {process.returncode}\n{errors.strip()}")
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_seconds() - busy - cpu) / (seconds * os.cpu_count())
    return {"out": out, "errors": errors, "cpuSeconds": cpu, "seconds": seconds, "others": others}


def busy_seconds():
    """What all cores together have worked since boot."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, stat.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def warm(path):
    """Reads a file once, so that no engine pays for the disk."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
