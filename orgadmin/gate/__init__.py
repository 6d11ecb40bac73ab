"""The answers of the access rule for one request, and the reasons for them."""
