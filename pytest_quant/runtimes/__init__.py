"""Files that other runtimes run: loaded, called and looked into by one protocol."""
