"""Integrations with other programs, which are imported only on use."""
