"""Metrics and health for the outside: over HTTP, and as a file for node_exporter.

`catalogue` has every metric once. `collector` counts facts and reads gauges at a scrape, `text` is
Prometheus's format, `server` answers HTTP, `textfile` writes the file.
"""
