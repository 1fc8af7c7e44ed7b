"""What shoppers may send: a quantity, and who an order is for."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from shopreco.shop.cart import MAX_QUANTITY


class QuantityForm(forms.Form):
    quantity = forms.IntegerField(min_value=0, max_value=MAX_QUANTITY, required=False)

    def clean_quantity(self) -> Any:
        quantity = self.cleaned_data["quantity"]
        return 1 if quantity is None else quantity


class CheckoutForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})
    )
    email = forms.EmailField(
        label=_("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "inputmode": "email"}),
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, label_suffix="")
