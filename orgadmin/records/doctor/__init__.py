"""The doctor: finds broken data, and repairs it."""
