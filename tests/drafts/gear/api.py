from django.contrib.contenttypes.models import ContentType
from django.shortcuts import get_object_or_404
from rest_framework import filters, serializers, viewsets
from rest_framework.decorators import action, api_view
from rest_framework.response import Response

from gear.models import Basket, BasketEntry, Course, Product, ProductVariant


class ProductSerializer(serializers.ModelSerializer):
    class Meta:
        model = Product
        fields = ["uuid", "title"]


class ProductViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Product.objects.filter(status="published").order_by("pk")
    serializer_class = ProductSerializer
    lookup_field = "uuid"
    filter_backends = [filters.SearchFilter]
    search_fields = ["title"]


class CourseSerializer(serializers.ModelSerializer):
    class Meta:
        model = Course
        fields = ["code", "name"]


class CourseViewSet(viewsets.ReadOnlyModelViewSet):
    serializer_class = CourseSerializer
    lookup_field = "code"
    lookup_url_kwarg = "course"

    def get_queryset(self):
        return Course.objects.filter(is_active=True)

    @action(detail=True, methods=["post"])
    def add_to_basket(self, request, course=None):
        put(Course.objects.get(code=course), 1)
        return Response(status=201)


class EntrySerializer(serializers.Serializer):
    variant = serializers.SlugRelatedField("sku", queryset=ProductVariant.objects.all())
    pieces = serializers.IntegerField(default=1)


def put(thing, quantity):
    kind = ContentType.objects.get_for_model(thing)
    return BasketEntry.objects.create(
        basket=Basket.objects.create(), content_type=kind, object_id=thing.pk, quantity=quantity
    )


@api_view(["POST"])
def add(request):
    serializer = EntrySerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    entry = put(serializer.validated_data["variant"], serializer.validated_data["pieces"])
    return Response({"entry": entry.pk}, status=201)


@api_view(["DELETE"])
def remove(request, sku):
    variant = get_object_or_404(ProductVariant, sku=sku)
    BasketEntry.objects.filter(object_id=variant.pk).delete()
    return Response(status=204)
