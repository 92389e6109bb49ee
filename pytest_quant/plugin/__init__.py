"""All that knows pytest: hooks, fixtures, options, and the run that follows the tests."""
