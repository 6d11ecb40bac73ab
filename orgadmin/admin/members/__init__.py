"""The forms and messages of all pages that change who has which role."""
