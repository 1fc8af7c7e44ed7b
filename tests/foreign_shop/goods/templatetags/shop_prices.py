from django import template

from goods.models import Article
from goods.pages import price_for

register = template.Library()


@register.simple_tag(takes_context=True)
def price_of(context, thing):
    return f"€{price_for(thing, context['request'])}" if isinstance(thing, Article) else ""
