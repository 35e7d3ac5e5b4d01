"""Static files: style sheets, scripts, icons; read and compressed once, cached by browsers forever.

A URL has a hash over all files in it, `/static/<hash>/<name>`, so that a new version has new URLs, while
modules and style sheets still find each other by relative ones. A URL with another hash, from a page that was
loaded before an update, is answered too, but not cached.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import NotFound

_DIRECTORY = Path(__file__).resolve().parent.parent / "static"
_CACHE_FOREVER = "public, max-age=31536000, immutable"
# Content type by suffix, independent of the machine's own tables, and whether compression helps.
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
_DEFAULT_TYPE = ("application/octet-stream", False)
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is kept: compressed by gzip, unless its format is compressed already.

    Browsers ask for nothing else; each worker would keep 0.3 MB for other clients.
    """

    stored: bytes
    is_compressed: bool
    content_type: str

    @property
    def content(self) -> bytes:
        """The content without compression."""
        return gzip.decompress(self.stored) if self.is_compressed else self.stored


class StaticFiles:
    """All files below a directory by relative name, and the hash over all of them."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            path.relative_to(directory).as_posix(): _read(path)
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        self.hash = _hash(self._files)

    def content(self, name: str) -> bytes:
        """The content of a file. Raises KeyError."""
        return self._files[name].content

    def view(self, tree: str, name: str) -> Response:
        """Response with a file; cached if `tree` is the hash. Raises NotFound."""
        file = self._files.get(name)
        if file is None:
            raise NotFound
        is_compressed = file.is_compressed and request.accept_encodings["gzip"] > 0
        response = Response(file.stored if is_compressed else file.content, content_type=file.content_type)
        response.headers["Cache-Control"] = _CACHE_FOREVER if tree == self.hash else "no-cache"
        response.vary.add("Accept-Encoding")
        if is_compressed:
            response.content_encoding = "gzip"
        return response


def init_app(app: Flask, prefix: str) -> None:
    """Serve the files below `{prefix}/static/`, and give templates the filter `static_url`."""
    files = _own_files()
    bp = Blueprint("static_files", __name__)
    bp.add_url_rule("/static/<tree>/<path:name>", view_func=files.view, endpoint="file")
    app.register_blueprint(bp, url_prefix=prefix)

    def static_url(name: str) -> str:
        return f"{prefix}/static/{files.hash}/{name}"

    app.jinja_env.filters["static_url"] = static_url


def read(name: str) -> bytes:
    """The content of a file of this release. Raises KeyError."""
    return _own_files().content(name)


@cache
def _own_files() -> StaticFiles:
    """The files of this release, read once per process."""
    return StaticFiles(_DIRECTORY)


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    content_type, is_compressible = _TYPES.get(path.suffix, _DEFAULT_TYPE)
    stored = gzip.compress(content, 9, mtime=0) if is_compressible else content
    return StaticFile(stored, is_compressible, content_type)


def _hash(files: dict[str, StaticFile]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        content = file.content
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:_HASH_LENGTH]
