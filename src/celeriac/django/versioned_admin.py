"""The admin of versioned models: of two who edit a row at once, the second is told so."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from celeriac.core.errors import StaleObject
from celeriac.django.versioned import STALE_MESSAGE

__all__ = ["VersionedAdmin"]


class VersionedAdmin(ModelAdmin):
    """Use it in place of ``ModelAdmin``; the version must be among the form's fields, where it is hidden."""

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """What Django's own does; a row that changed while it was being saved is left as it is."""
        try:
            response: HttpResponse = super().changeform_view(request, *args, **options)
        except StaleObject:
            name = str(self.opts.verbose_name).capitalize()
            messages.error(request, STALE_MESSAGE % {"name": name})
            return HttpResponseRedirect(request.get_full_path())
        return response
