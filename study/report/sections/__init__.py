"""The page's sections.

Each is a module with a function `section(facts, ...)`, which asks the records in SQL and gives blocks (a table, a
figure) or None where the study did not ask for it.
"""
