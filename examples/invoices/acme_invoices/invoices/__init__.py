"""Invoices: what is stored, the JSON of it, what can be done, and the routes."""
