"""Calls that may never come back: each runs in a thread that nobody must wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def begin(function: Callable[[], T]) -> Future[T]:
    """Run ``function`` beside us; what hangs cannot be stopped, and ends with the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def within(seconds: float, function: Callable[[], T]) -> T:
    """What ``function`` returns or raises in time.

    Raises:
        TimeoutError: if it does not end in time; it goes on, and nobody hears of it.
    """
    try:
        return begin(function).result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no end within {seconds:g} s") from error
