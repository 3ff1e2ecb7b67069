"""The bench of recipes: any of them on one project's records over seeds, as a graph of runs, and what came of it."""
