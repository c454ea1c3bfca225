"""NOUNS that flow between the stages and are saved: frozen dataclasses that round-trip through JSON."""
