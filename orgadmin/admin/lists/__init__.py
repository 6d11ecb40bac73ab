"""What all lists have in common: their pages, rows, filters, and parameters."""
