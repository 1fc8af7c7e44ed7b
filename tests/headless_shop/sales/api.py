import secrets

from catalogue.models import GiftCard, Variant
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils import timezone
from rest_framework import serializers, viewsets
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import action
from rest_framework.mixins import CreateModelMixin
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import APIView

from sales.models import CartLine, Order, OrderLine


class TokenView(ObtainAuthToken):
    parser_classes = [JSONParser]
    permission_classes = []


class LineSerializer(serializers.Serializer):
    """`{"sku": "TENT-1-S", "quantity": 1}` or `{"gift_card": "<uuid>", "quantity": 1}`."""

    sku = serializers.SlugRelatedField("sku", queryset=Variant.objects.all(), required=False)
    gift_card = serializers.PrimaryKeyRelatedField(queryset=GiftCard.objects.all(), required=False)
    quantity = serializers.IntegerField(min_value=1, default=1)

    def validate(self, attrs):
        if ("sku" in attrs) == ("gift_card" in attrs):
            raise serializers.ValidationError("Give either sku or gift_card.")
        return {"thing": attrs.get("sku") or attrs.get("gift_card"), "quantity": attrs["quantity"]}


def shown(line):
    key = "sku" if isinstance(line.thing, Variant) else "gift_card"
    value = line.thing.sku if key == "sku" else str(line.thing.pk)
    return {key: value, "quantity": line.quantity, "price": str(line.thing.price)}


class CartView(APIView):
    def get(self, request):
        return Response({"lines": [shown(line) for line in request.user.cart_lines.all()]})

    def post(self, request):
        serializer = LineSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        line = CartLine.objects.create(user=request.user, **serializer.validated_data)
        return Response(shown(line), status=201)

    def delete(self, request):
        serializer = LineSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        thing = serializer.validated_data["thing"]
        kind = ContentType.objects.get_for_model(thing)
        request.user.cart_lines.filter(content_type=kind, object_id=str(thing.pk)).delete()
        return Response(status=204)


class OrderSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["id", "reference", "placed_at", "paid_at"]
        read_only_fields = fields


class OrderViewSet(CreateModelMixin, viewsets.ReadOnlyModelViewSet):
    serializer_class = OrderSerializer

    def get_queryset(self):
        return self.request.user.orders.order_by("-placed_at")

    @transaction.atomic
    def perform_create(self, serializer):
        lines = list(self.request.user.cart_lines.all())
        if not lines:
            raise serializers.ValidationError({"cart": "is empty"})
        order = serializer.save(user=self.request.user, reference=f"D{secrets.randbelow(10**12):012}")
        for line in lines:
            amount = line.thing.price * line.quantity
            OrderLine.objects.create(order=order, thing=line.thing, quantity=line.quantity, amount=amount)
        self.request.user.cart_lines.all().delete()

    @action(detail=True, methods=["post"])
    def pay(self, request, pk=None):
        order = self.get_object()
        order.paid_at = timezone.now()
        order.save()
        return Response(self.get_serializer(order).data)
