"""Which action next: settings by an acquisition function, sources by expected gain for the cost."""
