"""`manage.py recommender_doctor`: says what is wrong with an installation and how to repair it."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from recommender.management import health
from recommender.management.findings import as_json, exit_code

MARKS = {"ok": "ok     ", "unknown": "unknown", "warning": "warning", "error": "error  "}


class Command(BaseCommand):
    help = _("Examine the installation. Exit code 0: all is in order, 1: a warning or something unknown, 2: an error.")
    requires_system_checks: list[str] = []  # the examination runs them itself

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("print the report as JSON"))
        parser.add_argument("--minutes", type=float, default=15.0, help=_("count the events of the last MINUTES"))

    def handle(self, *args: Any, **options: Any) -> None:
        findings = health.examine(minutes=options["minutes"])
        if options["json"]:
            self.stdout.write(json.dumps(as_json(findings), indent=1, ensure_ascii=False))
        else:
            for finding in findings:
                self.stdout.write(f"{MARKS[finding.level]} {finding.topic}: {finding.message}")
                if finding.repair:
                    self.stdout.write(f"        -> {finding.repair}")
        sys.exit(exit_code(findings))
