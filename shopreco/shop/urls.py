"""URLs of the shop."""

app_name = "shop"
urlpatterns: list = []
