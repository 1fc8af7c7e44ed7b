"""Rules of merchandisers: what makes one valid, its way to live, what it collides with, and what it costs."""
