"""The style sheet, the scripts and the icons: read once, compressed once, cached by browsers for good.

An address holds a hash over all of the files, `/static/<hash>/<name>`, so that a new version has new
addresses, while modules and style sheets still find each other by relative ones. An address with another
hash, as a page from before an update asks for, is answered too, but not to be kept.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import NotFound

_FOLDER = Path(__file__).resolve().parent.parent / "static"
_FOR_GOOD = "public, max-age=31536000, immutable"
# By their suffix, whatever the machine's own tables say; the second says whether compression gains.
_TYPES = {
    ".css": ("text/css; charset=utf-8", True),
    ".ico": ("image/x-icon", True),
    ".js": ("text/javascript; charset=utf-8", True),
    ".json": ("application/json", True),
    ".mjs": ("text/javascript; charset=utf-8", True),
    ".mp3": ("audio/mpeg", False),
    ".png": ("image/png", False),
    ".svg": ("image/svg+xml", True),
    ".txt": ("text/plain; charset=utf-8", True),
    ".wav": ("audio/wav", True),
    ".webmanifest": ("application/manifest+json", True),
    ".woff2": ("font/woff2", False),
}
_ANY_TYPE = ("application/octet-stream", False)
_HASH_LENGTH = 12


@dataclass(frozen=True)
class StaticFile:
    """A file as it is served; `compressed` is `None` where its type is compressed by itself."""

    content: bytes
    compressed: bytes | None
    content_type: str


class StaticFiles:
    """All files below a folder, by their names in it, and the hash over all of them."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.hash = _hash(self._files)

    def answer(self, tree: str, name: str) -> Response:
        """A file of the tree that `tree` is the hash of. Raises NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound
        is_compressed = file.compressed is not None and request.accept_encodings["gzip"] > 0
        response = Response(
            file.compressed if is_compressed else file.content, content_type=file.content_type
        )
        response.headers["Cache-Control"] = _FOR_GOOD if tree == self.hash else "no-cache"
        response.vary.add("Accept-Encoding")
        if is_compressed:
            response.content_encoding = "gzip"
        return response


def init_app(app: Flask, prefix: str) -> None:
    """Serves the files below `{prefix}/static/` and gives templates `static_url(name)`."""
    files = StaticFiles(_FOLDER)
    room = Blueprint("static_files", __name__)
    room.add_url_rule("/static/<tree>/<path:name>", view_func=files.answer, endpoint="file")
    app.register_blueprint(room, url_prefix=prefix)

    def static_url(name: str) -> str:
        return f"{prefix}/static/{files.hash}/{name}"

    app.jinja_env.globals["static_url"] = static_url


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    content_type, gains = _TYPES.get(path.suffix, _ANY_TYPE)
    return StaticFile(content, gzip.compress(content, 9, mtime=0) if gains else None, content_type)


def _hash(files: dict[str, StaticFile]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{len(file.content)}\0".encode())
        digest.update(file.content)
    return digest.hexdigest()[:_HASH_LENGTH]
