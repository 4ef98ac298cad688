"""What is SQLite's own: its connections, errors, file, lock and schema version.

Everything outside is written with SQLAlchemy Core for any dialect.
"""
