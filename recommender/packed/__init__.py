"""Columns that hold no Python object per row: they may lie in files that all processes of a machine map and share."""

from recommender.packed.columns import CodedTexts, Decoded
from recommender.packed.files import PackedArrays, appended, put_rows, read_arrays, read_manifest, within, write_arrays
from recommender.packed.lookup import Counted, Numbering, TextIndex
from recommender.packed.texts import PackedTexts, Texts

__all__ = [
    "CodedTexts",
    "Counted",
    "Decoded",
    "Numbering",
    "PackedArrays",
    "PackedTexts",
    "TextIndex",
    "Texts",
    "appended",
    "put_rows",
    "read_arrays",
    "read_manifest",
    "within",
    "write_arrays",
]
