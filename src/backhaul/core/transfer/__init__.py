"""One attempt of one transfer, from the listing to the published files."""
