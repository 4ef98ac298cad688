"""Messages of Hadoop's RPC and data transfer protocols, generated from the `.proto` files here."""
