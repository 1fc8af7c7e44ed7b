from django import template

register = template.Library()


@register.simple_tag
def price_of(product):
    return f"only {product.price}" if hasattr(product, "price") else ""
