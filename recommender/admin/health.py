"""The page that says what is wrong with the installation and how to repair it: what `recommender_doctor` finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import Link, require
from recommender.management import health
from recommender.management.findings import Finding
from recommender.models import Health
from recommender.models.words import words_of

PAGE_SECONDS = 20.0
"""After so long no further examination begins: proxies give up after 30 to 60 seconds."""

MARKS = {
    "error": ("failed", "✗", _("error")),
    "warning": ("refused", "▲", _("warning")),
    "unknown": ("queued", "?", _("not known")),
    "ok": ("succeeded", "✓", _("in order")),
}
"""Colour, sign and word of each level, in the order of the page."""

PAGES = {
    "account": ("rejectedevent", _("Rejected events")),
    "ages": ("run", _("Model runs")),
    "alarms": ("alarm", _("Alarms")),
    "arrivals": ("event", _("Events")),
    "background": ("run", _("Model runs")),
    "bundles": ("bundle", _("Bundles")),
    "item ids": ("event", _("Events")),
    "items": ("item", _("Items")),
    "retention": ("run", _("Model runs")),
}
"""The page where more is seen, or repaired, by topic."""


CODE = re.compile(
    r"`(?P<marked>[^`]+)`|(?:python\s+manage\.py|celery\s-A)\s.*"
    r"|(?:(?:GET|POST|PUT|PATCH|DELETE)\s)?\S*[A-Za-z][./:_]+\S*\w\S*|/[A-Za-z]\S*"
)
"""What a finding names: commands, paths, settings, queues; the same in every language."""


@dataclass(frozen=True, slots=True)
class HealthLine:
    """One finding as the page shows it."""

    css: str
    sign: str
    word: str
    topic: str
    message: SafeString
    repair: SafeString
    link: Link | None


@admin.register(Health)
class HealthAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        """The one page; the rows of the proxy are no findings."""
        return [pattern for pattern in super().get_urls() if pattern.name == "recommender_health_changelist"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Examine and show. Only a POST writes the test event, which is removed again."""
        require(request, "recommender.view_health")
        writes = request.method == "POST"
        findings = health.examine(writes=writes, most_seconds=PAGE_SECONDS)
        levels = [finding.level for finding in findings]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Health"),
            "counts": [(css, sign, word, levels.count(level)) for level, (css, sign, word) in MARKS.items()],
            "groups": [
                (MARKS[level][2], [_line(request, finding) for finding in findings if finding.level == level])
                for level in MARKS
                if level in levels
            ],
            "examined_at": timezone.now(),
            "writes": writes,
        }
        return TemplateResponse(request, "admin/recommender/health/page.html", context)


def _line(request: HttpRequest, finding: Finding) -> HealthLine:
    css, sign, word = MARKS[finding.level]
    link = None
    if finding.level != "ok" and finding.topic in PAGES:
        model, label = PAGES[finding.topic]
        if request.user.has_perm(f"recommender.view_{model}"):
            link = Link(str(label), reverse(f"admin:recommender_{model}_changelist"))
    topic = words_of(finding.topic)
    return HealthLine(css, sign, str(word), topic, _with_code(finding.message), _with_code(finding.repair), link)


def _with_code(text: str) -> SafeString:
    """The text with what it names as code."""
    return format_html_join("", "{}", ((part,) for part in _parts(text)))


def _parts(text: str) -> Iterator[str]:
    end = 0
    for match in CODE.finditer(text):
        yield text[end : match.start()]
        yield format_html("<code>{}</code>", match["marked"] or match[0])
        end = match.end()
    yield text[end:]
