"""The only epoch loop: recipes, lanes, the state to resume from, and the processes at work."""
