"""`make bench-operator`: the operator with thousands of pipelines, on a real API server without nodes.

Prints its figures as JSON, keeps them in target/bench-operator.json, and fails where a bar is missed.

PIPELINES      how many, each with a source and a sink of its own (2,000)
QUIET          seconds in which nothing is to be written (60)
RESTARTS       how often the operator is killed and started (3)
THALWEG_CACHE  where Kubernetes' binaries are kept (~/.cache/thalweg)
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from control_plane import ControlPlane, free_port
from machine import BenchError, facts, note

NAMESPACE = ACCOUNT = "thalweg"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
GROUP = "thalweg.dev/v1alpha1"
# Pipelines of one namespace.
TEAM = 200
# The bars: seconds from a start to the last look, bytes of memory of its own, writes while nothing happens.
MOST_SECONDS, MOST_BYTES, MOST_WRITES = 10, 100_000_000, 0
# Without a look or a write for so long, all is done.
SETTLED_SECONDS = 6
LEADER_LEASE = ("leases", "thalweg-operator")


class Operator:
    """A process of the operator: killed and started again, it keeps its name, as a container of one pod does."""

    def __init__(self, binaries, kubeconfig, log):
        self.port = free_port()
        self.environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": "thalweg-0",
            "POD_NAMESPACE": NAMESPACE,
            "THALWEG_LISTEN": f"127.0.0.1:{self.port}",
            "THALWEG_WORKER_IMAGE": "thalweg:bench",
            "THALWEG_CHECK_BINARY": str(binaries / "thalweg"),
            "THALWEG_REPORT_KEY": str(key_in(Path(log).parent)),
            "THALWEG_REPORTS_LISTEN": f"127.0.0.1:{free_port()}",
        }
        self.binary, self.log, self.process, self.started = binaries / "thalweg-operator", log, None, None

    def start(self):
        self.started = time.time()
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.binary], env=self.environment, stdout=log, stderr=log)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def looks(self):
        """How often it has looked at pipelines, and how many it knows; `None` while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            if self.process.poll() is not None:
                raise BenchError(f"the operator ended:\n{tail(self.log)}") from None
            return None
        return tuple(
            sum(int(count) for count in re.findall(rf"^thalweg_operator_{name}\{{.*\}} (\d+)", text, re.MULTILINE))
            for name in ("reconciles_total", "pipelines")
        )

    def memory(self):
        """Bytes: its own (anonymous) now, and the most that were resident with its binary's pages."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        kibibytes = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1]) for key in ("RssAnon", "VmHWM")}
        return {"anonymousBytes": kibibytes["RssAnon"] << 10, "peakResidentBytes": kibibytes["VmHWM"] << 10}

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settled(self, pipelines, limit):
        """Waits until it has looked at every pipeline and then at none for a while: seconds from its start to its last
        look."""
        count, changed = None, time.time()
        while time.time() - self.started < limit:
            now = self.looks()
            if now != count:
                count, changed = now, time.time()
            elif count and count[1] == pipelines and time.time() - changed > SETTLED_SECONDS:
                return changed - self.started
            time.sleep(0.05)
        raise BenchError(f"after {limit} s it still looks at pipelines (looks, pipelines: {count}):\n{tail(self.log)}")


def key_in(folder):
    """A key as the chart makes one; it is shown to nobody here."""
    files = ["-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", "-nodes", "-days", "36500", "-subj", "/CN=thalweg", *curve, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def tail(path):
    return Path(path).read_text(encoding="utf-8", errors="replace")[-3000:]


def resources(count):
    """Namespaces, and in them sources, sinks and pipelines."""
    teams = [f"team-{team}" for team in range(-(-count // TEAM))]
    yield [("/api/v1/namespaces", {"metadata": {"name": team}}) for team in teams]
    named = [(teams[number // TEAM], f"fares-{number}") for number in range(count)]
    yield [resource(team, name, "StreamSource", source()) for team, name in named]
    yield [resource(team, name, "StreamSink", {"blackhole": {}}) for team, name in named]
    yield [resource(team, name, "StreamPipeline", pipeline(name)) for team, name in named]


def resource(namespace, name, kind, spec):
    path = f"/apis/{GROUP}/namespaces/{namespace}/{kind.lower()}s"
    return path, {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec}


def source():
    columns = [("fare", "DECIMAL(10, 2)", "fare_amount"), ("zone", "INT", "pickup_location_id")]
    schema = [{"name": name, "type": kind, "from": field} for name, kind, field in columns]
    return {"generator": {"taxi": {}}, "schema": schema}


def pipeline(name):
    sql = "INSERT INTO dear SELECT zone, fare FROM trips WHERE fare > 100"
    return {"sources": [{"name": name, "as": "trips"}], "sinks": [{"name": name, "as": "dear"}], "sql": sql}


def install(plane):
    """The chart's definitions and rights; its operator is the process that is measured."""
    plane.kubectl("create", "namespace", NAMESPACE)
    chart = Path(__file__).parent.parent / "charts" / "thalweg"
    helm = [plane.binaries / "helm", "template", "--skip-tests", NAMESPACE, chart, "--namespace", NAMESPACE]
    rendered = subprocess.run(helm, capture_output=True, text=True, check=True).stdout
    documents = [document for document in rendered.split("\n---\n") if "\nkind: Deployment\n" not in document]
    plane.kubectl("apply", "--server-side", "-f", "-", text="\n---\n".join(documents))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return plane.kubectl("create", "token", ACCOUNT, "--namespace", NAMESPACE, "--duration=24h").strip()


def own_writes(plane):
    """Writes of the operator but renewals of the leader's Lease."""
    return [write for write in plane.audited_writes() if (write[2], write[3]) != LEADER_LEASE]


def seconds(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def counted(writes):
    return dict(sorted(Counter(f"{verb} {what}" for _, verb, what, _, _ in writes).items()))


def measured(plane, operator, pipelines, restarts, quiet):
    operator.start()
    operator.settled(pipelines, limit=1800)
    writes = own_writes(plane)
    lasted = max(seconds(write[0]) for write in writes) - operator.started
    first = {"seconds": lasted, "cpuSeconds": operator.cpu_seconds(), "writes": len(writes), **operator.memory()}
    note(f"from nothing: {lasted:.0f} s, {len(writes)} writes, {first['anonymousBytes'] / 1e6:.0f} MB")
    yield "fromNothing", {**first, "writesByKind": counted(writes)}
    starts = []
    for _ in range(restarts):
        operator.kill()
        before = len(own_writes(plane))
        operator.start()
        took = operator.settled(pipelines, limit=300)
        writes = own_writes(plane)[before:]
        starts.append(
            {
                "seconds": took,
                "looks": operator.looks()[0],
                "cpuSeconds": operator.cpu_seconds(),
                "writes": len(writes),
                "writesByKind": counted(writes),
                **operator.memory(),
            }
        )
        note(f"restart: converged after {took:.1f} s, {starts[-1]['anonymousBytes'] / 1e6:.0f} MB")
    yield "restarts", starts
    before, cpu = len(own_writes(plane)), operator.cpu_seconds()
    time.sleep(quiet)
    writes = own_writes(plane)[before:]
    calm = {"seconds": quiet, "writes": len(writes), "cpuSeconds": operator.cpu_seconds() - cpu, **operator.memory()}
    note(f"quiet: {len(writes)} writes in {quiet} s, {calm['anonymousBytes'] / 1e6:.0f} MB")
    yield "quiet", {**calm, "writesByKind": counted(writes)}


def missed(found):
    """What misses its bar."""
    starts, quiet = found["restarts"], found["quiet"]
    figures = {
        "restart to converged, seconds": (max(start["seconds"] for start in starts), MOST_SECONDS),
        "writes of a restart": (max(start["writes"] for start in starts), MOST_WRITES),
        "memory after a restart, bytes": (max(start["anonymousBytes"] for start in starts), MOST_BYTES),
        "memory in a quiet time, bytes": (quiet["anonymousBytes"], MOST_BYTES),
        "writes in a quiet time": (quiet["writes"], MOST_WRITES),
    }
    return {name: {"found": value, "most": most} for name, (value, most) in figures.items() if value > most}


def main():
    number = lambda name, default: int(os.environ.get(name) or default)  # noqa: E731
    pipelines, restarts, quiet = number("PIPELINES", 2000), number("RESTARTS", 3), number("QUIET", 60)
    built = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "debug"
    found = {"pipelines": pipelines, "machine": facts()}
    with ControlPlane(Path(sys.argv[1]), USER) as plane:
        token = install(plane)
        began = time.monotonic()
        for objects in resources(pipelines):
            plane.create_all(objects)
        note(f"{pipelines} pipelines with their sources and sinks are there after {time.monotonic() - began:.0f} s")
        kept = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
        operator = Operator(built, plane.kubeconfig(token, "operator.kubeconfig"), kept / "bench-operator.log")
        try:
            found |= dict(measured(plane, operator, pipelines, restarts, quiet))
        finally:
            operator.stop()
    found["date"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found["missed"] = missed(found)
    text = json.dumps(found, indent=1)
    (kept / "bench-operator.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(1 if found["missed"] else 0)


if __name__ == "__main__":
    # Whoever ends it leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by a signal"))
    try:
        main()
    except BenchError as error:
        sys.exit(f"error: {error}")
