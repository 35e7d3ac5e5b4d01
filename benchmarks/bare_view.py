"""The floor of what an answer can cost: a bare Flask view that answers 304, by the server's own gunicorn."""

from typing import Any

from flask import Flask, Response
from gunicorn.app.base import BaseApplication

from benchmarks import cli
from web.serving.worker import PatientWorker

_THREADS = 8
_KEEP_ALIVE_S = 20
_CONNECTIONS = 4096


class _Bare(BaseApplication):
    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"127.0.0.1:{self._port}",
            "worker_class": PatientWorker,
            "threads": _THREADS,
            "keepalive": _KEEP_ALIVE_S,
            "worker_connections": _CONNECTIONS,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:  # type: ignore[override]
        app = Flask(__name__, static_folder=None)

        @app.get("/<path:_path>")
        def unchanged(_path: str) -> Response:
            return Response(status=304)

        return app


if __name__ == "__main__":
    parser = cli.parser("bare_view", __doc__)
    parser.add_argument("port", type=cli.count, help="to listen on")
    _Bare(parser.parse_args().port).run()
