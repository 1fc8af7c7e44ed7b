"""The lines of a draft, each with its reason, and their layout as Python source."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

WIDTH = 116


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the draft and the reason for it. `is_hint` comments it out."""

    code: str
    reason: str = ""
    is_hint: bool = False


def assign(attribute: str, path: str, reason: str = "", *, is_hint: bool = False) -> Line:
    """A line such as `price = "amount"`."""
    return Line(f'{attribute} = "{path}"', reason, is_hint)


def assign_value(attribute: str, value: Any, reason: str, *, is_hint: bool = False) -> Line:
    """A line such as `languages = ("de", "en")`."""
    return Line(f"{attribute} = {value!r}".replace("'", '"'), reason, is_hint)


def method(signature: str, reason: str, *body: str) -> list[Line]:
    """A method such as `method("price(self, mug)", "the lowest", "return min(...)")`."""
    return [Line(f"def {signature}:", reason), *(Line(f"    {line}") for line in body)]


def comment(text: str) -> list[str]:
    """A comment with as many lines as it needs."""
    return textwrap.wrap(
        text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )


def indented(lines: Iterable[Line]) -> list[str]:
    """The lines of a class or a call; each reason stands behind its line, or above it if the line is too long."""
    written: list[str] = []
    for line in lines:
        code = f"    {'# ' if line.is_hint else ''}{line.code}".rstrip()
        follows_method = bool(written) and written[-1].startswith("        ") and not line.code.startswith(" ")
        if written and (line.code.startswith("def ") or follows_method):
            written.append("")
        if not line.reason:
            written.append(code)
        elif len(code) + len(line.reason) <= WIDTH:
            written.append(f"{code}  # {line.reason}")
        else:
            written += [*(f"    {text}" for text in comment(line.reason)), code]
    return written
