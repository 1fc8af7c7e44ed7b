"""What a run of training may choose: how the encoder is tuned, adapted and taught. No Django, no I/O."""

from __future__ import annotations

import enum


class FineTuning(enum.StrEnum):
    """How the encoder learns from pairs: all of it, none of it, or a small adapter beside it."""

    FULL = "full"
    FROZEN = "frozen"
    LORA = "lora"
    ADALORA = "adalora"
    PREFIX = "prefix"
    IA3 = "ia3"


class Adaptation(enum.StrEnum):
    """Whether the encoder first learns the shop's words; "auto": unless it is a sentence encoder already."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Teaching(enum.StrEnum):
    """Whether a cross-encoder is trained to teach the encoder; "auto": where evidence and time allow."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"
