"""What all that is drawn for people shares: `palette`, `lettering` on photographs, `figures` of
matplotlib, and of these the `sheet` of faces."""
