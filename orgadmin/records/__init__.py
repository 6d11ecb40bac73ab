"""Histories, imports, exports, and the doctor."""
