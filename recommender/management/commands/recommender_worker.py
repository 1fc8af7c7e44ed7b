"""`manage.py recommender_worker`: does all background work in one process, for a shop without Celery."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from recommender.jobs import worker


class Command(BaseCommand):
    help = _("Do all background work without Celery: sync, encoding, statistics, orders, trainings.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", choices=worker.KINDS, help=_("do only the recurring jobs, or only the trainings"))
        parser.add_argument("--once", action="store_true", help=_("do what is due and queued now, then return"))

    def handle(self, *args: Any, **options: Any) -> None:
        does = (options["only"],) if options["only"] else worker.KINDS
        loop = worker.Loop(does=does, say=self._say)
        if options["once"]:
            loop.run_once()
            return
        self._say(_("Working as %(name)s: %(does)s. Ctrl-C stops it.") % {"name": loop.name, "does": ", ".join(does)})
        with _interruptible(), contextlib.suppress(KeyboardInterrupt):
            loop.run()
        self._say(_("Stopped. The next worker continues."))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """The first SIGTERM or Ctrl-C ends the block; further ones are ignored, so that it can clean up."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, frame: Any) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
