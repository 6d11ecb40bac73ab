"""The home page, with what needs attention and recent activity."""
