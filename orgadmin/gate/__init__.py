"""The access rule's answers for one request, and the reasons for them."""
