"""Flink: installs it, keeps one warm session, says the cases in its words."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from machine import BenchError, note

VERSION = "2.3.0"
HERE = Path(__file__).resolve().parent


def install(cache):
    """The Python of a virtual environment that has Flink."""
    check_java()
    folder = cache / f"flink-{VERSION}"
    python, done = folder / "bin" / "python", folder / "installed"
    if done.exists():
        return python
    note(f"installing Flink {VERSION} (some 500 MB, once)")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, f"apache-flink=={VERSION}"], check=False).returncode != 0:
        raise BenchError(
            f"apache-flink {VERSION} could not be installed with {sys.executable}; it takes Python 3.9 to 3.12 "
            "(PYTHON=… chooses another)"
        )
    done.touch()
    return python


def check_java():
    """Flink 2 runs on Java 11 and later, and is measured here on 17."""
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        missing = "Flink needs Java 17: please install it (Debian: apt-get install openjdk-17-jre-headless)"
        raise BenchError(missing) from None
    return said.splitlines()[0] if said else "unknown"


class Session:
    """One JVM that runs jobs."""

    def __init__(self, python, log, settings):
        self.log, self.settings = log, settings
        self.errors = log.open("w", encoding="utf-8")
        command = [str(python), str(HERE / "flink_session.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"Flink's session has ended; see {self.log}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(f"Flink: {answer['error']}")
        return answer

    def run(self, case, data, out=None):
        """Runs a case over a file; into a folder of JSON, or a blackhole."""
        request = {
            "settings": self.settings,
            "statements": [source(case.table, data), sink(case, out)],
            "insert": f"INSERT INTO found {case.select}",
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def source(table, data):
    columns = [f"`{name}` {flink}" for name, _, flink in table.columns]
    columns.append(f"WATERMARK FOR `{table.time}` AS `{table.time}` - INTERVAL '{table.delay_seconds}' SECOND")
    options = {
        "connector": "filesystem",
        "path": Path(data).resolve().as_uri(),
        "format": "json",
        "json.timestamp-format.standard": "ISO-8601",
    }
    return f"CREATE TEMPORARY TABLE {table.name} ({', '.join(columns)}) WITH ({with_options(options)})"


def sink(case, out):
    columns = ", ".join(f"`{name}` {flink}" for name, _, flink in case.result)
    options = {"connector": "blackhole"}
    if out:
        options = {
            "connector": "filesystem",
            "path": Path(out).resolve().as_uri(),
            "format": "json",
            "json.timestamp-format.standard": "ISO-8601",
        }
    return f"CREATE TEMPORARY TABLE found ({columns}) WITH ({with_options(options)})"


def with_options(options):
    return ", ".join(f"'{key}' = '{value}'" for key, value in options.items())
