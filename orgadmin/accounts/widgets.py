"""Widgets that forms of several packages use."""

from __future__ import annotations

from typing import Any

from django import forms

from orgadmin.access.roles import ROLES_BY_KEY


class RoleSelect(forms.RadioSelect):
    """Radio buttons with a description of each role, for role_choices.html."""

    def create_option(
        self, name: str, value: Any, label: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        option = super().create_option(name, value, label, *args, **kwargs)
        option["description"] = ROLES_BY_KEY[value].description
        option["attrs"]["aria-describedby"] = f"{option['attrs']['id']}_description"
        return option
