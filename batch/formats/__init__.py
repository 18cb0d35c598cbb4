"""CSV, JSON Lines and Parquet as tables: layout, header, text column, our columns."""
