"""VERBS: one a file, each a function from nouns to a noun; they never import each other."""
