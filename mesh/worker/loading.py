"""Find the app a reference names: ``package.module:app`` or ``path/to/file.py:app``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from mesh.app import Mesh
from mesh.errors import AppNotFoundError

_DEFAULT_NAME = "app"


def load_app(reference: str) -> Mesh:
    """Import the app.

    A file is loaded under a private name; its folder (for a module: the working directory) is
    searched for what it imports.

    Args:
        reference: ``module:name`` or ``file.py:name``; ``:name`` may be left out for ``app``.

    Raises:
        AppNotFoundError: There is no such module, file or object, or it is no ``Mesh``.
    """
    place, _, name = reference.partition(":")
    name = name or _DEFAULT_NAME
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found = getattr(module, name, None)
    if isinstance(found, Mesh):
        return found
    apps = sorted(key for key, value in vars(module).items() if isinstance(value, Mesh))
    if found is None:
        hint = f"it has {', '.join(apps)}" if apps else "it has no Mesh object at all"
        msg = f"{place} has nothing called {name!r}; {hint}"
        raise AppNotFoundError(msg)
    msg = f"{reference} is a {type(found).__name__}, not a Mesh app"
    raise AppNotFoundError(msg)


def _load_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        msg = f"there is no file {path}"
        raise AppNotFoundError(msg)
    # A name of its own, the same in every process: two files called tasks.py do not collide.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"mesh_app_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        msg = f"{path} cannot be imported as Python"
        raise AppNotFoundError(msg)
    _search_in(path.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    _search_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # The app's own import is broken: its traceback says where.
        msg = (
            f"there is no module {name!r}; name it as you would import it from {Path.cwd()}, "
            "or give the path of a file that ends in .py"
        )
        raise AppNotFoundError(msg) from error


def _search_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
