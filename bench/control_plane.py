"""A Kubernetes without nodes: etcd, an API server, and the controllers that make pods of Deployments."""

import http.client
import json
import socket
import ssl
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import BenchError

ADMIN = "admin-of-the-benchmark"
# Requests at once: what keeps an API server on two cores busy.
AT_ONCE = 8
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["{user}"]
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
"""


class ControlPlane:
    """Lives in a folder of its own and on ports of loopback; ends with its `with` block."""

    def __init__(self, binaries, audited):
        self.binaries, self.audited = binaries, audited
        self.folder = tempfile.TemporaryDirectory(prefix="thalweg-control-plane-")
        self.place = Path(self.folder.name)
        self.port = free_port()
        self.processes = []

    def __enter__(self):
        try:
            self.write_identities()
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.folder.cleanup()

    def write_identities(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.place)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "api.key", "-out", "api.csr", "-subj", "/CN=api")
        (self.place / "san").write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
        signed_by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl("x509", "-req", "-in", "api.csr", *signed_by, "-out", "api.crt", "-extfile", "san")
        openssl("genrsa", "-out", "sa.key", "2048")
        openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        (self.place / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n', encoding="ascii")
        (self.place / "audit.yaml").write_text(AUDIT.format(user=self.audited), encoding="ascii")
        self.kubeconfig(ADMIN, "admin.kubeconfig")

    def kubeconfig(self, token, name):
        """Where and as whom to reach the API server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": self.cluster()}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        (self.place / name).write_text(json.dumps(config), encoding="ascii")
        return self.place / name

    def cluster(self):
        return {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.place / "ca.crt")}

    def start_all(self):
        store, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.start(
            "etcd",
            *("--data-dir", "etcd", "--unsafe-no-fsync", "--listen-client-urls", store),
            *("--advertise-client-urls", store, "--listen-peer-urls", peers, "--initial-cluster", f"default={peers}"),
            *("--initial-advertise-peer-urls", peers),
        )
        self.start(
            "kube-apiserver",
            *("--etcd-servers", store, "--secure-port", str(self.port), "--bind-address", "127.0.0.1"),
            # No pod asks for it: the address is that of no machine.
            *("--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none"),
            *("--tls-cert-file", "api.crt", "--tls-private-key-file", "api.key", "--token-auth-file", "tokens.csv"),
            *("--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"),
            *("--service-account-key-file", "sa.pub", "--service-account-signing-key-file", "sa.key"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--audit-policy-file", "audit.yaml", "--audit-log-path", "audit.log", "--audit-log-maxsize", "10000"),
        )
        self.wait_until_ready()
        self.start(
            "kube-controller-manager",
            *("--kubeconfig", "admin.kubeconfig", "--leader-elect=false", "--secure-port", "0"),
            *("--controllers", "deployment-controller,replicaset-controller"),
            *("--kube-api-qps", "500", "--kube-api-burst", "1000"),
        )

    def start(self, name, *words):
        log = open(self.place / f"{name}.log", "w", encoding="utf-8")
        command = [self.binaries / name, *words]
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.place))

    def wait_until_ready(self, seconds=90):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.processes[-1].poll() is not None:
                break
            try:
                if self.request(self.connect(), "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        log = (self.place / "kube-apiserver.log").read_text(encoding="utf-8", errors="replace")
        raise BenchError(f"the API server is not ready after {seconds} s:\n{log[-2000:]}")

    def kubectl(self, *words, text=None):
        """What a command of kubectl printed."""
        command = [self.binaries / "kubectl", "--kubeconfig", self.place / "admin.kubeconfig", *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def connect(self):
        context = ssl.create_default_context(cafile=str(self.place / "ca.crt"))
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)

    @staticmethod
    def request(connection, method, path, body=None):
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def create_all(self, objects):
        """Creates (path, object) pairs, several at once."""
        shares = [objects[share::AT_ONCE] for share in range(AT_ONCE)]

        def create(share):
            connection = self.connect()
            for path, body in share:
                status, answer = self.request(connection, "POST", path, body)
                if status != 201:
                    raise BenchError(f"creating {path} {body['metadata']['name']}: {status} {answer.decode()}")

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(create, shares))

    def audited_writes(self):
        """Every write of the audited user so far: (time, verb, resource, name, status code)."""
        with open(self.place / "audit.log", encoding="utf-8") as log:
            events = [json.loads(line) for line in log if line.endswith("\n")]
        return [
            (
                event["stageTimestamp"],
                event["verb"],
                "/".join(filter(None, (event["objectRef"].get("resource"), event["objectRef"].get("subresource")))),
                event["objectRef"].get("name", ""),
                event.get("responseStatus", {}).get("code"),
            )
            for event in events
        ]


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
