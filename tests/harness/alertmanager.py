"""The real Alertmanager, on loopback, with the shipped routing."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from streams.local.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
START_TIMEOUT_S = 180.0


def binary() -> str | None:
    """Path of the server, under either of the names that packages give it."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def config_for(receiver_url: str, folder: Path) -> Path:
    """Write the shipped configuration with every receiver replaced by `receiver_url/<its name>`, and short waits."""
    config: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    config["global"] = {"resolve_timeout": "5m"}
    config["templates"] = [str(SHIPPED.parent / "templates" / "*.tmpl")]
    for receiver in config["receivers"]:
        name = receiver["name"]
        receiver.clear()
        receiver |= {"name": name, "webhook_configs": [{"url": f"{receiver_url}/{name}", "send_resolved": True}]}
    _hurry(config["route"])
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def messages_config(receiver_url: str, mail: str, folder: Path) -> Path:
    """Write the shipped configuration with its receivers as they are, at addresses of ours; each alert goes to all."""
    config: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    config["global"] = {"smtp_smarthost": mail, "smtp_from": "cx@example.org", "smtp_require_tls": False}
    config["templates"] = [str(SHIPPED.parent / "templates" / "*.tmpl")]
    for receiver in config["receivers"]:
        place = f"{receiver_url}/{receiver['name']}"
        for one in receiver.get("slack_configs", ()):
            one["api_url"] = place
        for one in receiver.get("pagerduty_configs", ()):
            one |= {"url": place, "routing_key": "key"}
            one.pop("routing_key_file")
        for one in receiver.get("telegram_configs", ()):
            one["api_url"] = place
        for one in receiver.get("webhook_configs", ()):
            one |= {"url": place}
            one.pop("http_config")
    names = [receiver["name"] for receiver in config["receivers"]]
    config["route"] = {
        "receiver": "mail-platform", "group_by": ["alertname"], "group_wait": "100ms", "group_interval": "1s",
        "routes": [{"receiver": name, "matchers": ['alertname!=""'], "continue": True} for name in names],
    }  # fmt: skip
    path = folder / "messages.yml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


def _hurry(route: dict[str, Any]) -> None:
    for key in ("group_wait", "group_interval"):
        if key in route:
            route[key] = "1s" if key == "group_interval" else "100ms"
    for child in route.get("routes", ()):
        _hurry(child)


class Alertmanager:
    """One process; with `peers` it forms a cluster."""

    def __init__(
        self,
        config: Path,
        folder: Path,
        name: str = "am",
        peers: Sequence["Alertmanager"] = (),
        web_config: Path | None = None,
    ) -> None:
        """Prepare; `web_config` is its file about TLS and passwords."""
        self.port = free_port()
        self.cluster_port = _free_both()
        self._secured = web_config is not None
        self.url = f"http{'s' * self._secured}://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        server = binary()
        assert server is not None
        self._command = [
            server, f"--config.file={config}", f"--storage.path={folder / name}",
            f"--web.listen-address=127.0.0.1:{self.port}", f"--cluster.listen-address=127.0.0.1:{self.cluster_port}",
            f"--cluster.advertise-address=127.0.0.1:{self.cluster_port}", "--cluster.peer-timeout=8s",
            "--cluster.settle-timeout=2s", "--cluster.gossip-interval=50ms", "--cluster.pushpull-interval=1s",
            *([f"--web.config.file={web_config}"] if web_config else []),
            *(f"--cluster.peer=127.0.0.1:{peer.cluster_port}" for peer in peers),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            if self._secured:
                # Whether it lets anybody in is what the test asks.
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def peers(self) -> int:
        """How many there are in its cluster, itself among them."""
        return len(json.loads(self._get("/api/v2/status"))["cluster"]["peers"])

    def looked_up(self) -> int:
        """How often it looked whether somebody has been notified already, which comes before each message."""
        [count] = re.findall(r"^alertmanager_nflog_queries_total (\S+)", self._get("/metrics"), re.MULTILINE)
        return int(float(count))

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _free_both() -> int:
    """A port that is free for TCP and UDP: gossip uses both."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
