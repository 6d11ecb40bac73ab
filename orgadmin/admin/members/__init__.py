"""Forms and messages for all pages that change the roles of people."""
