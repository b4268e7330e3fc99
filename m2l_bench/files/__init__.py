"""Files from elsewhere: the hub, weights, untrusted paths and tables, and copies on shared storage."""
