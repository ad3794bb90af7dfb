"""Sources in processes of their own, on Ray."""
