"""A list that nobody can change by hand: only actions do, for who may."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

__all__ = ["ReadOnlyAdmin"]


class ReadOnlyAdmin(admin.ModelAdmin):
    """To look at with the permission to view; rows are neither added, changed nor deleted."""

    show_full_result_count = False  # counting a long table takes longer than showing a page of it
    list_per_page = 50

    def has_add_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any, **__: Any) -> bool:
        return False

    def has_delete_permission(self, *_: Any, **__: Any) -> bool:
        return False
