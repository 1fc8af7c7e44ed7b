"""The shop's own pages in the admin; search finds what is saved here within a minute."""

from django.contrib import admin

from shopreco.shop.models import Customer, Department, Order, OrderLine, Product


@admin.register(Department)
class DepartmentAdmin(admin.ModelAdmin):
    list_display = ("name", "slug")
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("title", "stock_code", "price", "department", "stock", "is_visible")
    list_filter = ("is_visible", "department")
    list_select_related = ("department",)
    search_fields = ("title", "stock_code")


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ("code", "country")
    list_filter = ("country",)
    search_fields = ("code",)
    raw_id_fields = ("user",)


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 0
    raw_id_fields = ("product",)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("number", "customer", "placed_at", "is_cancellation")
    list_filter = ("is_cancellation",)
    list_select_related = ("customer",)
    search_fields = ("number", "customer__code")
    raw_id_fields = ("customer",)
    inlines = [OrderLineInline]
