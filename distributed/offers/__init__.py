"""An offer: cores and memory that a machine's owner lends to Mains, fairly, as long as the owner wants."""
