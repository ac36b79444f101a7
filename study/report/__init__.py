"""The report: a study's records as one page to read, with every table and figure as files beside it.

Each section is a module with a function `section(facts, ...)`, which asks the records in SQL and gives blocks (a table,
a figure) or None where the study did not ask for it.
"""
