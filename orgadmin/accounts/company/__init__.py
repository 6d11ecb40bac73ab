"""Signing in with an account at the company's server, by OpenID Connect."""
