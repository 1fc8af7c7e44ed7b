"""System checks of a host's settings, catalogs and tracking rules."""


def register() -> None:
    """Tell Django about the checks of this app."""
