"""Weights in fewer bits than float32: how each precision stores them, and computes with them."""
