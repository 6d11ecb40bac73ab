"""People and their roles: memberships, invitations, access reviews, and emails."""
