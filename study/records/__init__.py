"""Records: what the store knows as Parquet tables, the SQL over them, and what a stage writes for people to watch."""
