"""The page of a study: figures, tables and published references in one file that needs no network."""
