"""`manage.py recommender_init`: drafts a shop's `recommendations.py` from its models, URLs and views."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from recommender.management.drafting import facts, steps, trial, writing
from recommender.management.drafting.writing import Draft


class Command(BaseCommand):
    help = _("Write a draft of recommendations.py from this shop's models and URLs, and show what it would record.")
    requires_system_checks: list[str] = []  # they would complain about the file that this command writes

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--app", default="", help=_("write the file into this app (default: that of the products)"))
        printing = _("print the draft and write nothing")
        parser.add_argument("--stdout", "--dry-run", action="store_true", dest="only_prints", help=printing)
        parser.add_argument("--force", action="store_true", help=_("replace an existing recommendations.py"))
        parser.add_argument("--noinput", "--no-input", action="store_true", help=_("do not ask questions"))
        parser.add_argument("--order-consent", default="", help=_('"required", "pseudonymous" or a dotted path'))
        parser.add_argument("--plain", action="store_true", help=_("treat a shop on Oscar like any other shop"))

    def handle(self, *args: Any, **options: Any) -> None:
        oscar = [] if options["plain"] else steps.oscar_lines()
        if oscar:
            self.stdout.write("\n".join(oscar))
            return
        if options["app"] and options["app"] not in apps.app_configs:
            raise CommandError(_("--app %(app)s: no installed app has this label.") % {"app": options["app"]})
        _refuse_unknown_consent(options["order_consent"])
        draft = writing.draft()
        if not draft.text:
            raise CommandError(NO_PRODUCT)
        if options["only_prints"]:
            self.stdout.write(draft.text)
            return
        self._write(draft, app_label=options["app"], is_forced=options["force"])
        result = trial.try_out(draft.text)
        self._show(result)
        self._show_next_steps(result, options)

    def _write(self, draft: Draft, *, app_label: str, is_forced: bool) -> None:
        path = _folder(app_label or draft.app_label) / "recommendations.py"
        if path.exists() and path.read_text() != draft.text and not is_forced:
            beside = path.with_name("recommendations_draft.py")
            beside.write_text(draft.text)
            paths = {"path": path, "draft": beside}
            self.stdout.write(_("%(path)s exists and stays as it is. The draft is beside it: %(draft)s") % paths)
            self.stdout.write(_("Compare the two; --force replaces your file."))
            return
        path.write_text(draft.text)
        self.stdout.write(_("Written: %(path)s. Each line has its reason; correct what is wrong.") % {"path": path})

    def _show(self, result: trial.Trial) -> None:
        self._list(_("Items, as they would be stored:"), result.items or [_("none: the tables are empty")])
        self._list(_("Pages:"), result.pages)
        self._list(_("Past orders, as they would be recorded:"), result.orders or [_("none")])
        self._list(_("To correct:"), result.faults)

    def _show_next_steps(self, result: trial.Trial, options: dict[str, Any]) -> None:
        consent = options["order_consent"] or self._ask_for_consent(result.n_orders, is_silent=options["noinput"])
        if result.n_orders and not consent and not steps.is_consent_decided():
            self._write_question(_("%(n)d past orders wait for a decision of the shop."), result.n_orders)
        self._list(_("Still missing:"), steps.missing_lines(consent))
        self._list(_("Then:"), steps.commands())
        self._list(_("In a template:"), steps.template_lines())

    def _ask_for_consent(self, n_orders: int, *, is_silent: bool) -> str:
        """Ask the one question that only the shop can answer, if a person is at a terminal."""
        if is_silent or not n_orders or steps.is_consent_decided() or not sys.stdin.isatty():
            return ""
        self._write_question(_("%(n)d past orders."), n_orders)
        answer = input(_("Which? [required] ")).strip() or "required"
        _refuse_unknown_consent(answer)
        return answer

    def _write_question(self, orders: str, n_orders: int) -> None:
        self.stdout.write(f"\n{orders % {'n': n_orders}} {steps.CONSENT_QUESTION}")

    def _list(self, heading: str, lines: list[str]) -> None:
        if lines:
            self.stdout.write("\n".join(["", heading, *(f"  {line}" for line in lines)]))


NO_PRODUCT = gettext_lazy(
    """No model looks like a product, with a title and with a price or order rows that point to it.
Write a recommendations.py by hand: a Catalog for each model whose objects are items."""
)


def _refuse_unknown_consent(value: str) -> None:
    """Raise CommandError unless `ORDER_CONSENT` can have this value: one of two words, or a dotted path."""
    if value and value not in ("required", "pseudonymous") and "." not in value:
        message = _(
            "--order-consent %(value)s: give required, pseudonymous, or the dotted path of a function such as "
            "shop.privacy.agreed."
        )
        raise CommandError(message % {"value": value})


def _folder(app_label: str) -> Path:
    """The folder of an app of the project. Raises CommandError if the app is an installed package."""
    if facts.is_installed_package(app_label):
        message = _(
            "The products are models of %(app)r, an installed package. Name an app of your own in INSTALLED_APPS that "
            "the file should go into: --app yourapp; or use --stdout."
        )
        raise CommandError(message % {"app": app_label})
    return Path(apps.get_app_config(app_label).path)
