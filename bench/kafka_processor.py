"""A processor: a process whose CPU time is read from the kernel."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from machine import BenchError, busy_seconds

# Of every topic, and of a processor.
PARTITIONS = 4
THREADS = 2
# A processor that works less than this part of a second, so many seconds in a row, has caught up.
QUIET, QUIET_SECONDS = 0.15, 4
# How long catching up may take.
LIMIT_SECONDS = 900


class Processor:
    """A process whose CPU time is read from the kernel."""

    def __init__(self, process, log):
        self.process, self.log, self.since = process, log, None

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as stat:
            after = stat.read().rpartition(")")[2].split()
        return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")

    def hold(self):
        """Stopped, it costs nothing and finds everything waiting."""
        self.process.send_signal(signal.SIGSTOP)
        self.since = self.cpu()

    def catch_up(self):
        """Goes on until it has nothing to do; what that cost since it was held."""
        self.process.send_signal(signal.SIGCONT)
        started, busy = time.monotonic(), busy_seconds()
        before, quiet = self.cpu(), 0
        # Starting takes longer than a glance.
        while quiet < QUIET_SECONDS or time.monotonic() - started < 3 * QUIET_SECONDS:
            time.sleep(1)
            if self.process.poll() is not None:
                raise BenchError(f"it ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            if time.monotonic() - started > LIMIT_SECONDS:
                raise BenchError(f"it has not caught up after {LIMIT_SECONDS} s")
            now = self.cpu()
            quiet = quiet + 1 if now - before < QUIET else 0
            before = now
        seconds = time.monotonic() - started
        cpu = before - (self.since or 0.0)
        others = max(0.0, busy_seconds() - busy - cpu) / (seconds * os.cpu_count())
        return {"cpuSeconds": cpu, "seconds": seconds - QUIET_SECONDS, "others": others}


@contextmanager
def processor(command, log):
    with log.open("w") as written:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written)
    try:
        yield Processor(process, log)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def number(name, default):
    text = os.environ.get(name) or str(default)
    if not text.replace("_", "").isdigit() or int(text) < 1:
        sys.exit(f"error: {name}: expected a whole number of at least 1, found {text}")
    return int(text)
