"""Signing in: passwords, a second factor, a company's OpenID provider, invitations."""
