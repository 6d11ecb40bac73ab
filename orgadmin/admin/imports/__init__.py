"""The pages that import and export files."""
