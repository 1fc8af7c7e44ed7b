"""Judgements: how well items answer queries, to look at, to add and to take back."""

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
        """Refuse an item that the recommender does not know."""
        item_id: str = self.cleaned_data["item_id"]
        if not Item.objects.filter(item_id=item_id).exists():
            raise ValidationError(_("There is no item with this id: copy it from the list of items."))
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
        """A judgement made here is that of a person, named by user."""
        obj.source = f"user {request.user.pk}"
        super().save_model(request, obj, form, change)
