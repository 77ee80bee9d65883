"""Real servers for tests: free loopback ports, folders of their own, always stopped by their ids."""
