"""The doctor, which finds and repairs broken data."""
