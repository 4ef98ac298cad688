"""The composition root: the only place that knows concrete classes; one module per command."""
