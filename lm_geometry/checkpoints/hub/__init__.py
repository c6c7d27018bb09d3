"""The model hub: its listings, whole files and byte ranges, a cache on disk, and patience with the network."""
