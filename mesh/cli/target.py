"""What a command works on: an app with the options of the command line laid over it."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mesh.cli.failures import AppBrokenError
from mesh.errors import AppNotFoundError

if TYPE_CHECKING:
    from mesh.app import Mesh

T = TypeVar("T")


class Target(NamedTuple):
    """The options that say which server, namespace and settings are meant."""

    url: str | None = None
    namespace: str | None = None
    config: Path | None = None
    log_level: str | None = None
    log_format: str | None = None

    def app(self, reference: str | None = None, **more: object) -> Mesh:
        """The named app, or one without tasks.

        Args:
            reference: ``module:name`` or ``file.py:name``; None: an app without tasks.
            **more: Further settings, with ``__`` for the dot; None counts as not given.

        Raises:
            AppNotFoundError: The reference leads nowhere.
            AppBrokenError: The app's own code failed.
        """
        from mesh.app import Mesh
        from mesh.settings.sources import CONFIG_VARIABLE

        if self.config is not None:
            # In the environment, because processes that we start must find the same file.
            os.environ[CONFIG_VARIABLE] = str(self.config.absolute())
        for variable, given in self._logging().items():
            os.environ[variable] = given  # Likewise: children of the process pool log, too.
        app = Mesh() if reference is None else _load(reference)
        app.override(self._values(more))
        return app

    def arguments(self) -> list[str]:
        """The same for the command line of a process that we start; the file is inherited."""
        given = {
            "--url": self.url,
            "--namespace": self.namespace,
            "--log-level": self.log_level,
            "--log-format": self.log_format,
        }
        return [word for name, value in given.items() if value for word in (name, value)]

    def _logging(self) -> dict[str, str]:
        given = {"MESH_LOG_LEVEL": self.log_level, "MESH_LOG_FORMAT": self.log_format}
        return {variable: value for variable, value in given.items() if value}

    def run(self, action: Callable[[Mesh], Awaitable[T]], reference: str | None = None) -> T:
        """Connect, do something with the app, disconnect.

        Args:
            action: What to do.
            reference: The app; None: one without tasks.
        """
        import asyncio

        from mesh.cli.logs import set_up_logging
        from mesh.telemetry.export import exporting

        app = self.app(reference)
        set_up_logging(app.settings)

        async def connected() -> T:
            async with app:
                return await action(app)

        with exporting("mesh"):
            return asyncio.run(connected())

    def _values(self, more: Mapping[str, object]) -> dict[str, Any]:
        named: dict[str, object] = {
            "url": self.url,
            "namespace": self.namespace,
            "log_level": self.log_level,
            "log_format": self.log_format,
        }
        named |= {name.replace("__", "."): value for name, value in more.items()}
        return {name: value for name, value in named.items() if value is not None}


def _load(reference: str) -> Mesh:
    from mesh.worker import loading

    try:
        return loading.load_app(reference)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, AppNotFoundError) and frames[-1].filename == loading.__file__:
            raise
        ours = (__file__, loading.__file__, importlib.__file__)
        theirs = [f for f in frames if f.filename not in ours and f.filename[0] != "<"]
        where = "".join(traceback.format_list(theirs))
        what = "".join(traceback.format_exception_only(error)).rstrip()
        message = f"{reference} cannot be imported:\n{where}{what}"
        raise AppBrokenError(message) from error
