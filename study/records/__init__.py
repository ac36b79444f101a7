"""Records: the store's content as Parquet tables, SQL over them, and each stage's log and TensorBoard files."""
