"""The shop's staff: what they look at says nothing about shoppers, and is not learned from."""

from django.contrib.auth import get_user_model

from recommender.models.events import Visitor


def visitors_of_staff() -> frozenset[int]:
    """Return the primary keys of the visitors whose user has `is_staff`. At most two queries, none if the shop's user
    model has no such field."""
    users = get_user_model()
    if "is_staff" not in {field.name for field in users._meta.concrete_fields}:
        return frozenset()
    keys = [str(pk) for pk in users._default_manager.filter(is_staff=True).values_list("pk", flat=True)]
    return frozenset(Visitor.objects.filter(user_key__in=keys).values_list("pk", flat=True) if keys else ())
