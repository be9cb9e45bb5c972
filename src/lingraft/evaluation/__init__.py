"""Measurements that can be compared."""
