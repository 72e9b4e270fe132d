from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "tests.django.rows.shop"
    label = "shop"
