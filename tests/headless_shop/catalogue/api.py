from rest_framework import permissions, serializers, viewsets

from catalogue.models import GiftCard, Product, Variant


class VariantSerializer(serializers.ModelSerializer):
    class Meta:
        model = Variant
        fields = ["sku", "size", "price", "stock"]


class ProductSerializer(serializers.ModelSerializer):
    variants = VariantSerializer(many=True, read_only=True)
    department = serializers.CharField(source="department.name")

    class Meta:
        model = Product
        fields = ["uuid", "label", "blurb", "maker", "department", "picture_url", "variants"]


class ProductViewSet(viewsets.ReadOnlyModelViewSet):
    permission_classes = [permissions.AllowAny]
    serializer_class = ProductSerializer
    queryset = Product.objects.filter(listed=True).select_related("department").prefetch_related("variants")
    queryset = queryset.order_by("label")


class GiftCardSerializer(serializers.ModelSerializer):
    class Meta:
        model = GiftCard
        fields = ["uuid", "name", "price"]


class GiftCardViewSet(viewsets.ReadOnlyModelViewSet):
    permission_classes = [permissions.AllowAny]
    serializer_class = GiftCardSerializer
    queryset = GiftCard.objects.filter(is_active=True).order_by("price")
