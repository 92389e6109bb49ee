"""What this CPU and this PyTorch are, and the conditions under which all is built and measured."""
