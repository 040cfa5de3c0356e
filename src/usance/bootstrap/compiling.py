"""A screener that is made ready beside everything else, and swapped while the program runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from usance.aml.screening import Labelled, Screener, ScreeningReport
from usance.kernel.errors import UsanceError


class CompilingScreener:
    """Compiles the lists in a thread of its own; who screens before it is done waits for it.

    Nothing is ever let pass meanwhile: screening waits, the legal clocks do not. A report comes from one
    screener, whole: `swap` is for those that begin after it.
    """

    def __init__(self, make: Callable[[], Screener]) -> None:
        self._made: Screener | None = None
        self._error: UsanceError | None = None
        self._ready = threading.Event()
        thread = threading.Thread(target=self._compile, args=(make,), name="lists", daemon=True)
        thread.start()

    def _compile(self, make: Callable[[], Screener]) -> None:
        try:
            self._made = make()
        except UsanceError as error:
            self._error = error
        finally:
            self._ready.set()

    @property
    def ready(self) -> bool:
        """Tell whether screening would answer at once."""
        return self._made is not None

    @property
    def settled(self) -> bool:
        """Tell whether the first compiling is over, for better or worse."""
        return self._ready.is_set()

    def screener(self) -> Screener:
        """Return the compiled screener, waiting for it; raises what compiling raised."""
        self._ready.wait()
        if self._error is not None:
            raise self._error
        assert self._made is not None, "the lists were not compiled: see the logs"
        return self._made

    def swap(self, made: Screener) -> None:
        """Screen with another snapshot from now on."""
        self._made, self._error = made, None
        self._ready.set()

    def screen_parties(self, strings: Sequence[Labelled], on_date: str) -> ScreeningReport:
        """Screen every string of one subject, as `Screener` does."""
        return self.screener().screen_parties(strings, on_date)
