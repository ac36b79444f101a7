"""The report: a study's records as one page to read, with every table and figure as files beside it."""
