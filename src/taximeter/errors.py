"""The errors that Taximeter raises, all under one root.

::

    TaximeterError
    ├── ConfigError         a setting, a rate card file or a command line that cannot be used
    ├── UsageError          counts that no usage can have: negative, not whole, of an unknown unit
    ├── MoneyError          an amount that is not exact: a float, or digits below 1e-12 USD
    ├── WireError           bytes or a request that no wire format can be read from
    ├── PricingError        a rate card or price that cannot be used
    ├── SigningError        a request cannot be signed for its upstream now
    ├── LedgerError         a reservation or budget that was refused
    ├── JournalError        the journal cannot be written or read
    └── StoreError          the store cannot be opened, read or written

What a provider says (an HTTP 429, an error event in a stream) is not one of these: it is data, and is
recorded in the event as :class:`taximeter.event.ProviderError`. A price that is not known is no error either:
the cost is ``None`` and the event says why.
"""

from __future__ import annotations


class TaximeterError(Exception):
    """The root: everything that Taximeter itself raises."""


class ConfigError(TaximeterError):
    """A setting cannot be used. Says which, where it was found, and what would be accepted."""


class UsageError(TaximeterError, ValueError):
    """Counts that cannot be: negative, not a number, or of a unit that is not registered."""


class MoneyError(TaximeterError, ValueError):
    """An amount that cannot be held exactly."""


class WireError(TaximeterError):
    """Bytes that cannot be read as the format they were declared to be.

    Attributes:
        offset: how many bytes of the decoded body came before the fault, where known.
    """

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class PricingError(TaximeterError):
    """A price book or rate card cannot be used."""


class SigningError(TaximeterError):
    """A call cannot be signed now: there are no credentials, or they have expired."""


class LedgerError(TaximeterError):
    """An account refuses."""


class JournalError(TaximeterError):
    """The journal cannot do what was asked."""


class StoreError(TaximeterError):
    """The store cannot do what was asked.

    Attributes:
        record_id: the id of the event or correction that it cannot keep; ``None`` when the fault is in none of them, or
            it is not known in which.
    """

    def __init__(self, message: str, *, record_id: str | None = None) -> None:
        super().__init__(message)
        self.record_id = record_id
