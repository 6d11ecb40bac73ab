"""The pages of people, and the pages that change many roles at once."""
