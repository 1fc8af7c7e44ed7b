"""The endpoint for the receipt of an erasure: whoever has its random id may read it; nobody can be known by then."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from recommender.api.base import ApiView
from recommender.api.parameters import uuid_or_none
from recommender.api.problems import Problem
from recommender.api.serializers import UtcDateTimeField
from recommender.models import Erasure


class ErasureReceiptSerializer(serializers.Serializer[Any]):
    erasure_id = serializers.UUIDField(source="key")
    state = serializers.ChoiceField(choices=Erasure.State.values)
    requested_at = UtcDateTimeField()
    rows_erased_at = UtcDateTimeField(allow_null=True, help_text="From then on no row names the person.")
    finished_at = UtcDateTimeField(allow_null=True, help_text="When everything computed from the rows was renewed.")
    waits_for = serializers.CharField(help_text="Why it is not finished yet, or empty.")
    tables = serializers.DictField(
        source="receipt.tables", child=serializers.IntegerField(), default=dict, help_text="Deleted rows of each table."
    )
    n_files = serializers.SerializerMethodField(help_text="Deleted files of trainings.")
    bundles = serializers.DictField(
        source="receipt.bundles",
        default=dict,
        help_text="Trained models, and whether each learned from the person.",
    )
    next_training_at = serializers.CharField(
        source="receipt.next_training_at", default=None, help_text="When a model is trained without the person."
    )

    def get_n_files(self, erasure: Erasure) -> int:
        return len(erasure.receipt.get("files", []))


class ErasureView(ApiView):
    """The receipt of one erasure."""

    authentication_classes = ()
    scope = ""

    def get(self, request: Request, erasure_id: str) -> Response:
        """How far it is and what was deleted. One query."""
        key = uuid_or_none(erasure_id)
        erasure = Erasure.objects.filter(key=key).first() if key else None
        if erasure is None:
            raise Problem("unknown-erasure", "DELETE me answers with the address of its receipt.")
        return Response(ErasureReceiptSerializer(erasure).data)
