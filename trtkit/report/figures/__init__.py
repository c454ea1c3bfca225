"""The figures of a study, one a file; each function gives drawings, or says in words why there is none."""
