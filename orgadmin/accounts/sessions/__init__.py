"""Sessions: when they end, and what becomes of a form that is sent too late."""
