"""Pictures as they are, so that the shop needs no thumbnailing package."""

from types import SimpleNamespace

from oscar.core.thumbnails import AbstractThumbnailer


class Untouched(AbstractThumbnailer):
    def generate_thumbnail(self, source, **opts):
        return SimpleNamespace(url=f"/media/{source}")

    def delete_thumbnails(self, source):
        pass
