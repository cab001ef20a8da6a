"""A server as a process of its own, with toy workers, for tests; everything is ended whatever happens."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

from unit.jobs.processes import ROOT, TOY, environment, until

PROGRAM = """
import json, sys
from pathlib import Path
from wan22.server.serve import serve
from wan22.server.settings import Settings
settings = Settings(port=0, devices=("cpu",) * int(sys.argv[2]), runner=sys.argv[3], **json.loads(sys.argv[4]))
serve(Path(sys.argv[1]), settings, lambda url, token: print(url, flush=True))
"""


class Server:
    """A running server: its process, and its address."""

    def __init__(self, process):
        self.process = process
        self.url = process.stdout.readline().strip()
        assert self.url, process.stderr.read()

    def ask(self, path, body=None, method=None, **headers):
        """Status and JSON (or text) of a request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"} | headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def ready(self):
        """Wait until a worker can take a job."""
        until(lambda: self.ask("/readyz")[0] == 200, "a worker")
        return self


@contextmanager
def server(data, workers=1, runner=TOY, **settings):
    """A server of the folder, killed in the end."""
    command = [sys.executable, "-c", PROGRAM, str(data), str(workers), runner, json.dumps(settings)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate()
