"""Metering what an application calls, without changing it. See ``README.md``."""

import sys

from taximeter.instrument.endpoints import endpoint
from taximeter.instrument.hooks import CallablePackage, instrument, uninstrument
from taximeter.instrument.transports import AsyncTransport, Transport

__all__ = ["AsyncTransport", "Transport", "endpoint", "instrument", "uninstrument"]

sys.modules[__name__].__class__ = CallablePackage
