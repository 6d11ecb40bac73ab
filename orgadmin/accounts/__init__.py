"""Sign-in: passwords, second factors, a company's OpenID provider, and invitations."""
