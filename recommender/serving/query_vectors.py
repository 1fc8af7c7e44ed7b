"""The vectors of past queries of one bundle: many equal requests at once encode a query once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from recommender.deadlines import Resting, TooLate, current_stopwatch
from recommender.types import FloatArray

N_CACHED_QUERIES = 2_048


class QueryVectors:
    """The last 2,048 vectors (d,) float32 by the text that is encoded; safe to share between threads."""

    def __init__(self, encode: Callable[[str], FloatArray]) -> None:
        self._encode = encode
        self._vectors: OrderedDict[str, FloatArray] = OrderedDict()
        self._encoding: dict[str, Future[FloatArray]] = {}
        self._lock = threading.Lock()

    def get(self, text: str) -> FloatArray:
        """The vector of a text: known, or encoded here, or by whoever encodes it at this moment.

        Raises what encoding raises, and TooLate where another's encoding is not ready in time.
        """
        while True:
            with self._lock:
                vector = self._vectors.get(text)
                if vector is not None:
                    self._vectors.move_to_end(text)
                    return vector
                others = self._encoding.get(text)
                own = self._encoding.setdefault(text, Future()) if others is None else None
            if own is not None:
                return self._encoded(text, own)
            if others is not None and (vector := _awaited(others)) is not None:
                return vector

    def _encoded(self, text: str, own: Future[FloatArray]) -> FloatArray:
        try:
            vector = self._encode(text)
        except BaseException as error:
            with self._lock:
                del self._encoding[text]
            own.set_exception(error)
            raise
        vector.setflags(write=False)
        with self._lock:
            self._vectors[text] = vector
            del self._encoding[text]
            if len(self._vectors) > N_CACHED_QUERIES:
                self._vectors.popitem(last=False)
        own.set_result(vector)
        return vector


def _awaited(others: Future[FloatArray]) -> FloatArray | None:
    """What another request encodes; None where that request had no time left, though this one may."""
    stopwatch = current_stopwatch()
    left = None if stopwatch is None or stopwatch.left_seconds == float("inf") else max(0.0, stopwatch.left_seconds)
    try:
        return others.result(left)
    except (Resting, TooLate):
        return None
    except TimeoutError:
        raise TooLate from None
