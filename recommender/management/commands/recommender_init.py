"""`manage.py recommender_init`: looks at the shop's models and URLs, and writes a draft of its `recommendations.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender.management.drafting import facts, steps, trial, writing
from recommender.management.drafting.writing import Draft


class Command(BaseCommand):
    help = "Write a draft of recommendations.py from this shop's models and URLs, and show what it makes of them."
    requires_system_checks: list[str] = []  # what they miss is what this command is about to write

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--app", default="", help="write the file into this app; left out, into that of the products"
        )
        parser.add_argument(
            "--stdout", "--dry-run", action="store_true", dest="only_prints", help="print the draft and write nothing"
        )
        parser.add_argument("--force", action="store_true", help="replace a recommendations.py that is there")
        parser.add_argument("--noinput", "--no-input", action="store_true", help="ask nothing")
        parser.add_argument("--order-consent", default="", help='"required", "pseudonymous" or a dotted path')
        parser.add_argument("--plain", action="store_true", help="draft a shop on Oscar as any other one")

    def handle(self, *args: Any, **options: Any) -> None:
        oscar = [] if options["plain"] else steps.oscar_lines()
        if oscar:
            self.stdout.write("\n".join(oscar))
            return
        if options["app"] and options["app"] not in apps.app_configs:
            raise CommandError(f"--app {options['app']}: no installed app has this label.")
        _refuse_odd_consent(options["order_consent"])
        draft = writing.draft()
        if not draft.products:
            raise CommandError(NOTHING)
        if options["only_prints"]:
            self.stdout.write(draft.text)
            return
        self._write(draft, app_label=options["app"], is_forced=options["force"])
        shown = trial.try_out(draft.text)
        self._show(shown)
        self._tell_next(shown, options)

    def _write(self, draft: Draft, *, app_label: str, is_forced: bool) -> None:
        path = _folder(app_label or draft.app_label) / "recommendations.py"
        if path.exists() and path.read_text() != draft.text and not is_forced:
            beside = path.with_name("recommendations_draft.py")
            beside.write_text(draft.text)
            self.stdout.write(f"{path} is there already and stays as it is. The draft is beside it: {beside}")
            self.stdout.write("Compare the two; --force replaces your file.")
            return
        path.write_text(draft.text)
        self.stdout.write(f"Written: {path}. Each line has its reason beside it; correct what is wrong.")

    def _show(self, shown: trial.Trial) -> None:
        self._list("Items, as they would be stored:", shown.items or ["none: the tables are empty"])
        self._list("Pages:", shown.pages)
        self._list("Past orders, as they would be recorded:", shown.orders or ["none"])
        self._list("To correct:", shown.faults)

    def _tell_next(self, shown: trial.Trial, options: dict[str, Any]) -> None:
        consent = options["order_consent"] or self._asked(shown.n_orders, is_silent=options["noinput"])
        if shown.n_orders and not consent and not steps.is_consent_decided():
            self.stdout.write(
                f"\n{shown.n_orders} past orders wait for a decision of the shop. {steps.CONSENT_QUESTION}"
            )
        self._list("Still missing:", steps.missing_lines(consent))
        self._list("Then:", steps.commands())
        self._list("In a template:", steps.template_lines())

    def _asked(self, n_orders: int, *, is_silent: bool) -> str:
        """The one question that nobody but the shop can answer; only a person at a terminal is asked."""
        if is_silent or not n_orders or steps.is_consent_decided() or not sys.stdin.isatty():
            return ""
        self.stdout.write(f"\n{n_orders} past orders. {steps.CONSENT_QUESTION}")
        answer = input("Which? [required] ").strip() or "required"
        _refuse_odd_consent(answer)
        return answer

    def _list(self, heading: str, lines: list[str]) -> None:
        if lines:
            self.stdout.write("\n".join(["", heading, *(f"  {line}" for line in lines)]))


NOTHING = """No model here looks like a product: one with a title, and a price or rows of orders that point to it.
Write a recommendations.py by hand: a Catalog for each model whose objects are items."""


def _refuse_odd_consent(value: str) -> None:
    """A choice of `ORDER_CONSENT` is one of two words, or the dotted path of a function."""
    if value and value not in ("required", "pseudonymous") and "." not in value:
        raise CommandError(
            f"--order-consent {value}: give required, pseudonymous, or the dotted path of a function such as "
            "shop.privacy.agreed."
        )


def _folder(app_label: str) -> Path:
    """The folder of an app of the project. Raises where the app comes from a package."""
    if facts.is_installed_package(app_label):
        raise CommandError(
            f"The products are models of {app_label!r}, an installed package. Name an app of yours that shall hold the "
            "file and that stands in INSTALLED_APPS: --app yourapp; or --stdout."
        )
    return Path(apps.get_app_config(app_label).path)
