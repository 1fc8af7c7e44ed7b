"""Judgements of how well items answer queries, to read, add and delete."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from recommender.models import Item, Judgement


class JudgementForm(forms.ModelForm):
    class Meta:
        model = Judgement
        fields = ("query", "item_id", "grade")

    def clean_item_id(self) -> str:
        """Refuse an item id that does not exist."""
        item_id: str = self.cleaned_data["item_id"]
        if not Item.objects.filter(item_id=item_id).exists():
            raise ValidationError(_("There is no item with this id. Copy the id from the list of items."))
        return item_id


@admin.register(Judgement)
class JudgementAdmin(admin.ModelAdmin):
    form = JudgementForm
    list_display = ("query", "item_id", "grade", "source", "judged_at")
    list_filter = ("source",)
    search_fields = ("query__startswith", "item_id__exact")
    search_help_text = _("The beginning of a query, or an item's id")
    ordering = ("-judged_at",)
    show_full_result_count = False

    def save_model(self, request: Any, obj: Judgement, form: Any, change: bool) -> None:
        """Record the user as the source of a judgement made here."""
        obj.source = f"user {request.user.pk}"
        super().save_model(request, obj, form, change)
