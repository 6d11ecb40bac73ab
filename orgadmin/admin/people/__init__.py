"""The pages of people, and those that change many roles at once."""
