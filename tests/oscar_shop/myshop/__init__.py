"""An Oscar shop as its owner has it before `docs/oscar.md`: tests follow that page in a copy."""
