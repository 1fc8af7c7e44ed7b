"""Lists the named URLs of the shop with their parts and views, for system checks, doctor and drafts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True, slots=True)
class Route:
    """A URL pattern as text; the converter of each named part, or None; and the view."""

    text: str
    kwargs: Mapping[str, Any]
    callback: Any = None


def named_routes() -> Iterator[tuple[str, Route]]:
    """Every URL that has a name, with its namespace, as `reverse()` takes it."""
    if getattr(settings, "ROOT_URLCONF", None):
        yield from _named(get_resolver().url_patterns, "", Route("", {}))


def _named(patterns: Sequence[URLPattern | URLResolver], namespace: str, above: Route) -> Iterator[tuple[str, Route]]:
    for pattern in patterns:
        fixed = pattern.default_args if isinstance(pattern, URLPattern) else pattern.default_kwargs
        parts = {**above.kwargs, **dict.fromkeys(fixed), **_parts(pattern.pattern)}
        route = Route(f"{above.text}{pattern.pattern}", parts, getattr(pattern, "callback", None))
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _named(pattern.url_patterns, inner, route)
        elif pattern.name:
            yield namespace + pattern.name, route


def _parts(pattern: Any) -> dict[str, Any]:
    """The named parts of a path with their converters, or of a regular expression."""
    return {**dict.fromkeys(pattern.regex.groupindex), **getattr(pattern, "converters", {})}
