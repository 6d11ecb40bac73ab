"""Where people are sent who cannot go on."""

from django.contrib import messages
from django.shortcuts import redirect


def turn_away(request, text):
    messages.error(request, text)
    return redirect("admin:login")
