"""What is PostgreSQL's own: the address, its connections, errors and schema."""
