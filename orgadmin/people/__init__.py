"""People and their roles: memberships, invitations, offboarding, and mail."""
