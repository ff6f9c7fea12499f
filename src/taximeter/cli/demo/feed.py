"""What the demo shows while it runs: a line for each call as it ends, and on a terminal the sum of it all, ticking."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from textwrap import wrap
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from taximeter.cli.terminal import plain, usd
from taximeter.event import CallEvent
from taximeter.meter import CostReport, on
from taximeter.money import Money

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from taximeter.cli.demo.scenes import Scene

_WHAT: Final = """An application calls model providers, and Taximeter meters every call. The providers are simulated
on this machine: nothing leaves it, and nobody is billed. Costs are by list prices, or your own rate cards."""
_PER_SECOND: Final = 12
_INDENT: Final = "  "


class _Column(NamedTuple):
    """A column of figures.

    Attributes:
        title: stands above.
        width: in signs, with the gap before it.
        unit: what is counted; ``None`` for the cost.
        from_width: how wide the screen must be for it.
    """

    title: str
    width: int
    unit: str | None
    from_width: int


_COLUMNS: Final = (
    _Column("input", 7, "input_tokens", 0),
    _Column("cached", 7, "cache_read_tokens", 76),
    _Column("output", 7, "output_tokens", 0),
    _Column("thought", 8, "output_reasoning_tokens", 76),
    _Column("cost USD", 13, None, 0),
)
_NAME: Final = 23
_NAME_WIDE: Final = 40
_NAME_LEAST: Final = 8
_WIDE: Final = 110
_NOTED: Final = 64
"""How wide a screen must be for the last column, in words: what is particular about a call."""


class Feed:
    """Calls on the screen while they happen.

    Args:
        console: shows them; ``None``: they are heard of and not shown.
        width: of the screen, in signs.

    Attributes:
        cost: the sum of what the ``cost`` listener was told.
    """

    def __init__(self, console: Console | None, width: int) -> None:
        self.cost = Money(0)
        self._console = console
        self._width = width
        self._columns = [column for column in _COLUMNS if width >= column.from_width]
        room = width - len(_INDENT) - sum(column.width for column in self._columns)
        self._name = _NAME_WIDE if width >= _WIDE else max(min(_NAME, room), _NAME_LEAST)
        self._lock = Lock()
        self._calls = 0
        self._tokens = 0
        self._held: list[tuple[str, Text]] | None = None

    @contextmanager
    def listening(self) -> Generator[None]:
        """Hears of every call of this process, for as long as the block lasts."""
        with ExitStack() as stack:
            stack.callback(on("call_closed", self._closed))
            stack.callback(on("cost", self._cost))
            if self._console is not None and self._console.is_terminal:
                from rich.live import Live

                stack.enter_context(
                    Live(
                        console=self._console,
                        refresh_per_second=_PER_SECOND,
                        transient=True,
                        get_renderable=self._ticker,
                    )
                )
            yield

    def begin(self) -> None:
        """What is to be seen."""
        self._text(_WHAT)

    def head(self, sdks: Sequence[str]) -> None:
        """What calls are made with, and the names of the columns.

        Args:
            sdks: the SDKs.
        """
        made = f"with the SDKs {', '.join(sdks)}; the others over HTTP" if sdks else "over HTTP"
        self._text(f"Calls are made {made}, as the providers' SDKs make them.")
        self._line(_styled())
        titles = "".join(f"{column.title:>{column.width}}" for column in self._columns)
        self._line(_styled((f"{'':{self._name + len(_INDENT)}}{titles}", "dim")))

    @contextmanager
    def scene(self, scene: Scene) -> Generator[list[str]]:
        """A title, the lines of the calls made within, and the remarks that are put in the list."""
        whose = f"{scene.project} · {scene.user} · {scene.operation}"
        gap = self._width - len(scene.title) - len(whose)
        self._line(_styled((scene.title, "bold"), (" " * gap + whose if gap > 1 else "", "dim")))
        remarks: list[str] = []
        with self._lock:
            self._held = [] if scene.at_once else None
        yield remarks
        with self._lock:
            # they ended in any order: shown in one that is always the same
            held, self._held = sorted(self._held or [], key=lambda each: each[0]), None
        for _, line in held:
            self._line(line)
        for remark in remarks:
            self._text(remark, _INDENT, "dim italic")
        self._line(_styled())

    def _closed(self, event: CallEvent) -> None:
        line = self._call(event)
        with self._lock:
            self._calls += 1
            self._tokens += _tokens(event)
            if self._held is not None:
                self._held.append((line.plain, line))
                return
        self._line(line)

    def _cost(self, report: CostReport) -> None:
        with self._lock:
            self.cost += report.cost

    def _call(self, event: CallEvent) -> Text:
        model = plain(event.model)
        name = f"{event.provider}/{model}" if self._width >= _WIDE else model
        about = "≈" if event.usage_source == "estimated" else ""
        pieces = [(f"{_INDENT}{_fit(name, self._name):{self._name}}", "")]
        for column in self._columns:
            if column.unit is None:
                shown = usd(event.cost)
                style = "dim" if event.cost is None else "green"
            else:
                count = None if event.usage is None else event.usage.get(column.unit)
                shown, style = ("–" if count is None else f"{count:,}"), ("" if count else "dim")
            shown = about + shown if shown not in ("–", "0") else shown
            pieces.append((f"{shown:>{column.width}}", style))
        if self._width >= _NOTED:
            note, style = _note(event, self._width)
            pieces.append((f"{_INDENT}{note}", style))
        return _styled(*pieces)

    def _ticker(self) -> Text:
        return _styled(
            (f"{_INDENT}{self._calls} calls  {self._tokens:,} tokens  ", "bold"), (f"{self.cost} USD", "bold green")
        )

    def _text(self, text: str, indent: str = "", style: str = "") -> None:
        for line in wrap(text, self._width, initial_indent=indent, subsequent_indent=indent):
            self._line(_styled((line, style)))

    def _line(self, line: Text) -> None:
        if self._console is not None:
            self._console.print(line, no_wrap=True, overflow="ellipsis")


def _note(event: CallEvent, width: int) -> tuple[str, str]:
    """What is particular about a call, and how that is to look."""
    if event.outcome == "failed":
        return f"{event.status or 'failed'}", "red"
    if event.outcome != "completed":
        return event.outcome, "yellow"
    if event.usage is not None and event.cost is None:
        return "no price", "yellow"
    notes = [*_particulars(event)]
    return ", ".join(notes if width >= _WIDE else notes[:1]), "dim"


def _particulars(event: CallEvent) -> Iterable[str]:
    if event.attempt > 1:
        yield "retry"
    if event.provider_cost is not None:
        yield "own cost"
    if event.tool_calls:
        yield f"{len(event.tool_calls)} tools"
    if event.tool_results:
        yield f"{len(event.tool_results)} results"
    if event.stream:
        yield "stream"


def _tokens(event: CallEvent) -> int:
    usage = event.usage
    return 0 if usage is None else (usage.input_tokens or 0) + (usage.output_tokens or 0)


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _styled(*pieces: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*pieces)
