"""Who has which role: changing it, inviting, offboarding, and the mail about it."""
