from modeltranslation.translator import TranslationOptions, register

from toys.models import Tool


@register(Tool)
class ToolOptions(TranslationOptions):
    fields = ("title", "description")
