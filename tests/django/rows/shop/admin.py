from django.contrib import admin

from celeriac.django.versioned_admin import VersionedAdmin
from tests.django.rows.shop.models import Order


@admin.register(Order)
class OrderAdmin(VersionedAdmin):
    fields = ("status", "version")
