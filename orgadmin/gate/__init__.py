"""The rule's answers for one request, and why they are what they are."""
