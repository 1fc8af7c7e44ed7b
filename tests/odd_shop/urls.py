from django.http import HttpResponse
from django.urls import include, path
from wares import views

urlpatterns = [
    path("r/", include("recommender.urls")),
    path("good/<int:pk>/", lambda request, pk: HttpResponse(str(pk)), name="good"),
    path("order/", views.order),
    path("hook/<str:number>/<str:status>/", views.hook),
]
