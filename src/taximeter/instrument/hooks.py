"""Which libraries are hooked, and when: those that are imported already at once, the others when they are.

Nothing is imported here for being hooked. A hook is a module of this package that says with ``MODULE`` which module it
patches, and has ``install(module)`` and ``uninstall(module)``; both may be called twice.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from taximeter.errors import ConfigError

HOOKS: Final = {"aiohttp": "aiohttp", "httpx": "httpx", "httpx2": "httpx", "urllib3": "urllib3"}
"""The packages that are hooked, and which module of ours hooks each. requests and botocore are over urllib3."""


class CallablePackage(ModuleType):
    """Makes ``taximeter.instrument()`` work although ``taximeter.instrument`` is a package too."""

    def __call__(self, *libraries: str) -> None:
        """See :func:`instrument`."""
        instrument(*libraries)


class _Hooks:
    """What is hooked in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.waiting: set[str] = set()
        self.installed: dict[str, tuple[Any, ModuleType]] = {}
        self.problems: dict[str, str] = {}

    def install(self, package: str) -> None:
        """Hooks a package that is imported. What goes wrong is logged and kept, and never the importer's problem."""
        with self.lock:
            if package not in self.waiting:
                return
            self.waiting.discard(package)
            try:
                hook: Any = import_module(f"taximeter.instrument.{HOOKS[package]}")
                target = hook.MODULE if hook.MODULE.partition(".")[0] == package else package
                module = import_module(target)
                hook.install(module)
            except Exception as error:  # noqa: BLE001 - the application goes on, unmetered, and its owner is told
                self.failed(package, error)
            else:
                self.installed[package] = (hook, module)
                self.problems.pop(package, None)

    def uninstall(self) -> None:
        """Takes every hook off."""
        with self.lock:
            self.waiting.clear()
            while self.installed:
                package, (hook, module) = self.installed.popitem()
                try:
                    hook.uninstall(module)
                except Exception as error:  # noqa: BLE001 - as above
                    self.failed(package, error)

    def failed(self, package: str, error: Exception) -> None:
        """A library that is not as its hook knows it: its calls are not metered."""
        import logging  # noqa: PLC0415 - loaded only when there is something to log

        self.problems[package] = f"{type(error).__name__}: {error}"
        logging.getLogger("taximeter").error("%s cannot be metered", package, exc_info=error)


class _Finder:
    """Notices that a package is imported which is waited for. Finds nothing by itself."""

    def __init__(self) -> None:
        self._asking = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the others find, with a loader that tells us when the package is there."""
        if fullname not in _hooks.waiting or getattr(self._asking, "name", None) == fullname:
            return None
        self._asking.name = fullname
        try:
            spec = _found_by_others(self, fullname, path, target)
        finally:
            self._asking.name = None
        if spec is not None and spec.loader is not None:
            loader: Any = _Told(spec.loader, lambda: _hooks.install(fullname))
            spec.loader = loader
        return spec


def _found_by_others(
    finder: _Finder, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for other in list(sys.meta_path):
        find = getattr(other, "find_spec", None)
        if other is not finder and find is not None:
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                return spec
    return None


class _Told:
    """A loader that tells when it has loaded, and leaves no trace of itself in what it loads."""

    def __init__(self, loader: Any, tell: Callable[[], None]) -> None:  # noqa: ANN401 - a loader of any kind
        self._loader = loader
        self._tell = tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does it."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the loader does it; then tells."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._tell()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loader has
        return getattr(self._loader, name)


_hooks = _Hooks()
_finder = _Finder()


def instrument(*libraries: str) -> None:
    """Meters every LLM call that this process makes from now on, by the clients that there are too.

    Doing it twice changes nothing. Other traffic is not touched.

    Args:
        libraries: only through these: ``httpx``, ``httpx2``, ``aiohttp``, ``urllib3`` (which carries requests and
            botocore); by default through all. Those that are not imported yet are hooked when they are.

    Raises:
        ConfigError: for a library that there is no hook for.
    """
    unknown = sorted(set(libraries) - HOOKS.keys())
    if unknown:
        msg = f"instrument: nothing is known of {', '.join(unknown)}; there are {', '.join(HOOKS)}"
        raise ConfigError(msg)
    with _hooks.lock:
        _hooks.waiting.update(package for package in libraries or HOOKS if package not in _hooks.installed)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        for package in sorted(_hooks.waiting & sys.modules.keys()):
            _hooks.install(package)


def uninstrument() -> None:
    """Takes off what :func:`instrument` put on. Calls that are under way are metered to their end."""
    _hooks.uninstall()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def problems() -> dict[str, str]:
    """The libraries that could not be hooked, and why."""
    return dict(_hooks.problems)
