"""The archive of events: files of Parquet by day of receipt, beside the bundles, from which learning reads."""

from recommender.datasets.archive.manifest import ArchiveManifest, exists, read_manifest
from recommender.datasets.archive.reading import all_files, archived_files, archived_tables, is_in_use
from recommender.datasets.archive.updating import ArchiveReport, discard, update

__all__ = [
    "ArchiveManifest",
    "ArchiveReport",
    "all_files",
    "archived_files",
    "archived_tables",
    "discard",
    "exists",
    "is_in_use",
    "read_manifest",
    "update",
]
