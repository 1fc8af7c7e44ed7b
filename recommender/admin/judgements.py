"""Judgements of how well items answer queries, to read, add and delete."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.labelling import ADD, LabellingSteps, source_of, stored_query
from recommender.admin.readonly import StyledAdmin
from recommender.admin.steps import Link
from recommender.models import Item, Judgement


class JudgementForm(forms.ModelForm):
    class Meta:
        model = Judgement
        fields = ("query", "item_id", "grade")

    def clean_query(self) -> str:
        """Store one row for a query, however its case and spaces are typed."""
        return stored_query(self.cleaned_data["query"])

    def clean_item_id(self) -> str:
        """Refuse an item id that does not exist."""
        item_id: str = self.cleaned_data["item_id"]
        if not Item.objects.filter(item_id=item_id).exists():
            raise ValidationError(_("There is no item with this id. Copy the id from the list of items."))
        return item_id


@admin.register(Judgement)
class JudgementAdmin(LabellingSteps, StyledAdmin):
    form = JudgementForm
    list_display = ("query", "item_id", "grade", "source", "judged_at")
    list_filter = ("source",)
    search_fields = ("query__startswith", "item_id__exact")
    search_help_text = _("The beginning of a query, or an item's id")
    ordering = ("-judged_at",)
    show_full_result_count = False

    change_list_template = "admin/recommender/judgement/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        return [*self.labelling_urls(self.admin_site.admin_view), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        url = reverse("admin:recommender_judgement_queue")
        links = [Link(gettext("Grade answers"), url, "default")] if request.user.has_perm(ADD) else []
        return super().changelist_view(request, {"links": links, **(extra_context or {})})

    def save_model(self, request: Any, obj: Judgement, form: Any, change: bool) -> None:
        """Record the user as the source of a judgement made here; an earlier one of theirs gives way."""
        obj.source = source_of(request.user)
        Judgement.objects.filter(query=obj.query, item_id=obj.item_id, source=obj.source).exclude(pk=obj.pk).delete()
        super().save_model(request, obj, form, change)
