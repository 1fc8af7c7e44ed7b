"""`manage.py demo`: everything that a visitor of the demo needs, in one command and in the foreground."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shopreco.shop import demo
from shopreco.shop.processes import Children


class Command(BaseCommand):
    help = "Load, train and serve the demo shop; Ctrl-C stops everything."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-train", action="store_true", help="serve by the untrained encoder")
        parser.add_argument("--exit-after-train", action="store_true", help="prepare and train, but do not serve")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            with demo.interruptible(), Children(demo.log_folder()) as children:
                self._run(children, options, started)
        except KeyboardInterrupt:
            self.stdout.write("\nEverything is stopped. The data stays: the next start serves at once.")

    def _run(self, children: Children, options: dict[str, Any], started: float) -> None:
        if not options["exit_after_train"]:
            demo.check_port(options["port"])
        demo.prepare(self.stdout.write)
        demo.start_workers(children, self.stdout.write)
        if not options["no_train"]:
            demo.train(self.stdout.write)
        if options["exit_after_train"]:
            self.stdout.write(f"Ready after {time.monotonic() - started:.0f} s.")
            return
        web = demo.serve(children, self.stdout.write, port=options["port"])
        self._welcome(options["port"], time.monotonic() - started)
        if not options["no_train"]:
            demo.train_longer(self.stdout.write)
        demo.watch(children, web, self.stdout.write)

    def _welcome(self, port: int, seconds: float) -> None:
        address = f"http://{demo.HOST}:{port}/"
        self.stdout.write(
            self.style.SUCCESS(f"\nServed after {seconds:.0f} s.")
            + f"\n  Shop       {address}"
            + f"\n  Customers  {address}sign-in/   sign in as a real customer and see the lists change"
            + f"\n  Admin      {address}admin/     user admin, password admin (this demo only)"
            + f"\n  Logs       {demo.log_folder()}"
            + "\nCtrl-C stops everything."
        )
