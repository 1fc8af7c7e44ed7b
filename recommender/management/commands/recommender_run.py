"""`manage.py recommender_run`: the training subprocess that a worker starts and supervises; not for people."""

import os
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

NICENESS = 5
"""Lower priority than the shop's own processes on the same host."""


class Command(BaseCommand):
    help = _("Internal: train for a leased run. Use recommender_train.")
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run_id", type=int)
        parser.add_argument("token", type=int, help=_("fencing token of the lease"))

    def handle(self, *args: Any, **options: Any) -> None:
        if hasattr(os, "nice"):
            os.nice(NICENESS)
        from recommender import training  # loads torch: only this process may

        watch = training.Watch(options["run_id"], options["token"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watch.interrupt())
        training.run(options["run_id"], options["token"], watch=watch)
