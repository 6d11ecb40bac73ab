"""The access rule, the role table, the groups, the logs, and the replica.

Every other package of the app may import this one. It imports none of them.
"""
