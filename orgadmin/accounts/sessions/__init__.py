"""Sessions: when they end, and how forms are kept that are sent after the end."""
