"""The access rule, the role table, the groups, and the membership log. Imported by everything, imports nothing."""
