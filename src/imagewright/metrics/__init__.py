"""Scores: while a network trains, on a whole split with their uncertainty, and of two networks beside each other."""
