"""A stand-in of ``cuda.bindings.runtime`` that plays streams, events and graphs under a virtual clock.

Names, enums, constants and signatures are those of the real module, which imports without a driver: a name it does not
have raises AttributeError, a call with wrong arguments TypeError, and a function that nothing here plays
NotImplementedError.
"""

from __future__ import annotations

from tests.backends.cuda_stand_in.device import Device, RaceError
from tests.backends.cuda_stand_in.runtime import Runtime
from tests.backends.cuda_stand_in.work import Work, settings

__all__ = ["Device", "RaceError", "Runtime", "Work", "settings"]
