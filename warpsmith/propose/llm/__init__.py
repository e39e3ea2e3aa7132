"""Language models as proposers. ``asking`` is the contract between what is said and who is asked; imports no SDK."""
