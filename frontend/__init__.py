"""The pages: thin views, templates, components, static modules."""
