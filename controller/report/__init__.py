"""Reports: a campaign as a person reads it, on a page of its own or in the terminal."""
