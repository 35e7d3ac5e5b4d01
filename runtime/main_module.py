"""The main module of this program, hidden from processes that do not need it."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.Lock()


@contextmanager
def hidden_main_module() -> Iterator[None]:
    """Keep processes that are spawned meanwhile from importing the main module, and all that it imports.

    `multiprocessing` has them import it in case that an argument is of one of its types. No argument may be.
    """
    with _lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
