"""Plots of the page, one kind a file, drawn by matplotlib as SVG."""
