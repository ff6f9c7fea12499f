"""Events as bytes, and back."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from decimal import Decimal

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given

from taximeter.codec import pack_event, unpack_event
from taximeter.errors import JournalError
from taximeter.event import CallEvent, Scope
from taximeter.money import Money
from taximeter.usage import Usage
from tests.journal.helpers import NOW, finished
from tests.store.helpers import events


@given(events)
def test_what_goes_in_comes_out(event: CallEvent) -> None:
    """Whatever an event's fields hold, the event made of its bytes is equal to it."""
    assert unpack_event(pack_event(event)) == event


@pytest.mark.parametrize("pico", [2**63 - 1, -(2**63), 2**63, 2**64, -(2**63) - 1, 10**40])
def test_amounts_of_any_size(pico: int) -> None:
    """An amount beyond 64 bits, nine million dollars, is as exact as a small one."""
    event = msgspec.structs.replace(finished(1), cost=Money(pico))
    assert unpack_event(pack_event(event)).cost == Money(pico)


def test_seconds_keep_every_digit() -> None:
    """A count with a fraction comes back as the same Decimal, zeros at the end included."""
    usage = Usage(audio_seconds=Decimal("8.470000267028809000"))
    back = unpack_event(pack_event(msgspec.structs.replace(finished(1), usage=usage)))
    assert back.usage is not None
    assert str(back.usage["audio_seconds"]) == "8.470000267028809000"


def test_a_moment_is_a_moment() -> None:
    """A time with another offset comes back as the same moment, to the microsecond."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=45))) + timedelta(microseconds=1)
    back = unpack_event(pack_event(msgspec.structs.replace(finished(1), started_at=there)))
    assert back.started_at == there


def test_fields_that_a_reader_does_not_know_are_passed_over() -> None:
    """An event of a newer version, with more to it, is read as far as this version understands it."""
    fields = msgspec.to_builtins(finished(3), enc_hook=lambda usage: dict(usage.counts), builtin_types=(type(NOW),))
    newer = b"\x01" + msgspec.msgpack.encode({**fields, "mood": "sunny", "scope": {**fields["scope"], "planet": 3}})
    assert unpack_event(newer) == finished(3)


def test_fields_that_are_absent_have_their_defaults() -> None:
    """An event of an older version, with less to it, is read."""
    older = {"id": "a", "started_at": NOW, "provider": "openai", "api": "openai.chat", "outcome": "failed"}
    read = unpack_event(b"\x01" + msgspec.msgpack.encode(older))
    assert read == CallEvent(id="a", started_at=NOW, provider="openai", api="openai.chat", outcome="failed")


def test_half_a_surrogate_pair_is_replaced() -> None:
    """Text that is none does not keep an event from being written: a replacement character stands in its place."""
    tags = (("mood", "fine \ud83d"),)
    back = unpack_event(pack_event(msgspec.structs.replace(finished(5), scope=Scope(user="\udc00x", tags=tags))))
    assert back.scope == Scope(user="\ufffdx", tags=(("mood", "fine \ufffd"),))
    assert back == msgspec.structs.replace(finished(5), scope=back.scope)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x01" + tail))
@example(b"")
@example(b"\x01\x81\xa5usage" + b"\x91" * 100_000)
@example(b"\x02{")
@example(b"\x02" + json.dumps({"id": 1}).encode())
def test_other_bytes_are_no_event(data: bytes) -> None:
    """Bytes that are no event raise a JournalError and nothing else."""
    with pytest.raises(JournalError):
        unpack_event(data)


def test_damaged_bytes_raise_only_journal_errors() -> None:
    """Any one byte of an event changed gives an event or a JournalError."""
    whole = pack_event(finished(7))
    for place in range(len(whole)):
        for flipped in (whole[place] ^ 0xFF, whole[place] ^ 0x01):
            changed = whole[:place] + bytes([flipped]) + whole[place + 1 :]
            try:
                assert isinstance(unpack_event(changed), CallEvent)
            except JournalError as error:
                assert str(error)  # noqa: PT017 - either is right, and nothing else is


def test_an_unknown_unit_is_a_journal_error() -> None:
    """A unit that only a newer version has is not dropped: the event is said to be unreadable."""
    newer = {"id": "a", "started_at": NOW, "provider": "p", "api": "a", "outcome": "completed", "usage": {"smells": 3}}
    with pytest.raises(JournalError, match="smells"):
        unpack_event(b"\x01" + msgspec.msgpack.encode(newer))
