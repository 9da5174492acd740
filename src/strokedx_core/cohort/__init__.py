"""A whole study: everybody in a BIDS folder, on one machine or a cluster, with pages to read."""
