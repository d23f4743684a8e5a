"""Layers that networks are made of: convolutions, U-Nets, data consistency."""
