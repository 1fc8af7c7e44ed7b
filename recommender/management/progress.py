"""A progress bar for commands: tqdm where it is installed, else nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `progress(done, total)`; nothing is drawn on anything but a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: None
        return
    with tqdm(unit=f" {unit}", leave=True, disable=not sys.stderr.isatty()) as drawn:

        def progress(done: int, total: int) -> None:
            drawn.total = total
            drawn.update(done - drawn.n)

        yield progress
