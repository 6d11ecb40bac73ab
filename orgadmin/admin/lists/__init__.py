"""Shared by all lists: pages, rows, filters, and URL parameters."""
