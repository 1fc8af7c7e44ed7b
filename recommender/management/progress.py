"""A progress bar for commands: drawn by tqdm where it is installed."""

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
    with tqdm(unit=f" {unit}", leave=True, disable=not sys.stderr.isatty()) as progress_bar:

        def progress(done: int, total: int) -> None:
            progress_bar.total = total
            progress_bar.update(done - progress_bar.n)

        yield progress
