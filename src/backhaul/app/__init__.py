"""Composition root: only this package knows concrete classes; one module for each command."""
