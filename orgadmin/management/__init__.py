"""The commands of manage.py. Their output is in English and is not translated."""
