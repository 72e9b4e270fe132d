from __future__ import annotations

from django.urls import path

from tests.django.shop import views

urlpatterns = [path("order/<name>", views.order), path("fail/<name>", views.fail)]
