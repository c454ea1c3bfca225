"""Tests, mirroring the three packages."""
