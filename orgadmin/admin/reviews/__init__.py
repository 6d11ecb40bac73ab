"""The pages of access reviews for platform staff."""
