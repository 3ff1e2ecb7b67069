"""One file for each method, named as its paper names it. Importing a recipe never imports torch."""
