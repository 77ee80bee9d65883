"""Outages of the database under the product and its clients, and what the clients saw of them."""
