"""`manage.py recommender_run`: the training subprocess that a worker starts and watches; nothing for a person."""

import os
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

NICENESS = 5
"""Training gives way to the shop's own processes on the same host."""


class Command(BaseCommand):
    help = "Internal: carry a leased run to its end. Use recommender_train."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run_id", type=int)
        parser.add_argument("token", type=int, help="fencing token of the lease")

    def handle(self, *args: Any, **options: Any) -> None:
        if hasattr(os, "nice"):
            os.nice(NICENESS)
        from recommender import training  # loads torch: only this process may

        watch = training.Watch(options["run_id"], options["token"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watch.interrupt())
        training.run(options["run_id"], options["token"], watch=watch)
