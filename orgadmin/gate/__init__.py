"""The access rule's answers for one request, and explanations of them."""
